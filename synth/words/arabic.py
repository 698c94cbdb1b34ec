"""Arabic: a dual, gender that turns round in numbers, and plurals that take the feminine singular."""

from synth.words.language import Language, Noun

# masculine, feminine, masculine dual, feminine dual
_COLOURS = {
    "red": ("أحمر", "حمراء", "أحمران", "حمراوان"),
    "orange": ("برتقالي", "برتقالية", "برتقاليان", "برتقاليتان"),
    "yellow": ("أصفر", "صفراء", "أصفران", "صفراوان"),
    "green": ("أخضر", "خضراء", "أخضران", "خضراوان"),
    "blue": ("أزرق", "زرقاء", "أزرقان", "زرقاوان"),
    "purple": ("بنفسجي", "بنفسجية", "بنفسجيان", "بنفسجيتان"),
    "pink": ("وردي", "وردية", "ورديان", "ورديتان"),
    "brown": ("بني", "بنية", "بنيان", "بنيتان"),
    "black": ("أسود", "سوداء", "أسودان", "سوداوان"),
    "white": ("أبيض", "بيضاء", "أبيضان", "بيضاوان"),
    "grey": ("رمادي", "رمادية", "رماديان", "رماديتان"),
}
_SIZES = {
    "small": ("صغير", "صغيرة", "صغيران", "صغيرتان"),
    "large": ("كبير", "كبيرة", "كبيران", "كبيرتان"),
}
# gender, singular, dual, plural
_SHAPES = {
    "circle": ("f", "دائرة", "دائرتان", "دوائر"),
    "square": ("m", "مربع", "مربعان", "مربعات"),
    "triangle": ("m", "مثلث", "مثلثان", "مثلثات"),
    "star": ("f", "نجمة", "نجمتان", "نجمات"),
    "heart": ("m", "قلب", "قلبان", "قلوب"),
    "cross": ("m", "صليب", "صليبان", "صلبان"),
    "ring": ("f", "حلقة", "حلقتان", "حلقات"),
    "diamond": ("m", "معين", "معينان", "معينات"),
    "crescent": ("m", "هلال", "هلالان", "أهلة"),
    "hexagon": ("m", "شكل سداسي", "شكلان سداسيان", "أشكال سداسية"),
}
_NUMBERS = {3: ("ثلاثة", "ثلاث"), 4: ("أربعة", "أربع")}


def noun(said: Noun) -> str:
    """`دائرة حمراء`, `دائرة حمراء صغيرة`, `دائرتان حمراوان`, `ثلاث دوائر حمراء`, `ثلاثة مربعات حمراء`."""
    gender, one, two, many = _SHAPES[said.shape]
    feminine = gender == "f"
    if said.count > 2:
        number, word, place = _NUMBERS[said.count][feminine], many, 1
    elif said.count == 2:
        number, word, place = "", two, 2 + feminine
    else:
        number, word, place = "", one, int(feminine)
    size = _SIZES[said.size][place] if said.size in _SIZES else ""
    return " ".join(w for w in (number, word, _COLOURS[said.colour][place], size) if w)


ARABIC = Language(
    code="ar",
    noun=noun,
    lists=("في الصورة {things}", "هذه الصورة فيها {things}"),
    grounded=("{things} {ground}", "في الصورة {things} {ground}"),
    left=("على اليسار {a} وعلى اليمين {b}", "إلى اليمين {b} وإلى اليسار {a}"),
    above=("في الأعلى {a} وفي الأسفل {b}", "في الأسفل {b} وفي الأعلى {a}"),
    counted="في الصورة {total}: {things}",
    totals={2: "شكلان", 3: "ثلاثة أشكال", 4: "أربعة أشكال"},
    grounds={
        "gradient": "على خلفية متدرجة اللون",
        "stripes": "على خلفية مخططة",
        "checks": "على خلفية ذات مربعات",
        "dots": "على خلفية منقطة",
        "clouds": "على خلفية مبقعة",
        "photo": "على صورة فوتوغرافية",
    },
    comma=" و",
    last=" و",
)
