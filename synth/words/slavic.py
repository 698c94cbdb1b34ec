"""Polish and Russian: adjectives agree in gender, and numbers from two to four ask for their own forms."""

from synth.words.language import Language, Noun

# masculine, feminine, neuter, plural of the things that are not persons
_PlForms = tuple[str, str, str, str]
# masculine, feminine, neuter; then after 2-4: genitive plural, nominative plural
_RuForms = tuple[str, str, str, str, str]

_PL_COLOURS: dict[str, _PlForms] = {
    "red": ("czerwony", "czerwona", "czerwone", "czerwone"),
    "orange": ("pomarańczowy", "pomarańczowa", "pomarańczowe", "pomarańczowe"),
    "yellow": ("żółty", "żółta", "żółte", "żółte"),
    "green": ("zielony", "zielona", "zielone", "zielone"),
    "blue": ("niebieski", "niebieska", "niebieskie", "niebieskie"),
    "purple": ("fioletowy", "fioletowa", "fioletowe", "fioletowe"),
    "pink": ("różowy", "różowa", "różowe", "różowe"),
    "brown": ("brązowy", "brązowa", "brązowe", "brązowe"),
    "black": ("czarny", "czarna", "czarne", "czarne"),
    "white": ("biały", "biała", "białe", "białe"),
    "grey": ("szary", "szara", "szare", "szare"),
}
_PL_SIZES: dict[str, _PlForms] = {
    "small": ("mały", "mała", "małe", "małe"),
    "large": ("duży", "duża", "duże", "duże"),
}
_PL_SHAPES = {
    "circle": ("n", "koło", "koła"),
    "square": ("m", "kwadrat", "kwadraty"),
    "triangle": ("m", "trójkąt", "trójkąty"),
    "star": ("f", "gwiazda", "gwiazdy"),
    "heart": ("n", "serce", "serca"),
    "cross": ("m", "krzyż", "krzyże"),
    "ring": ("m", "pierścień", "pierścienie"),
    "diamond": ("m", "romb", "romby"),
    "crescent": ("m", "półksiężyc", "półksiężyce"),
    "hexagon": ("m", "sześciokąt", "sześciokąty"),
}
_RU_COLOURS: dict[str, _RuForms] = {
    "red": ("красный", "красная", "красное", "красных", "красные"),
    "orange": ("оранжевый", "оранжевая", "оранжевое", "оранжевых", "оранжевые"),
    "yellow": ("жёлтый", "жёлтая", "жёлтое", "жёлтых", "жёлтые"),
    "green": ("зелёный", "зелёная", "зелёное", "зелёных", "зелёные"),
    "blue": ("синий", "синяя", "синее", "синих", "синие"),
    "purple": ("фиолетовый", "фиолетовая", "фиолетовое", "фиолетовых", "фиолетовые"),
    "pink": ("розовый", "розовая", "розовое", "розовых", "розовые"),
    "brown": ("коричневый", "коричневая", "коричневое", "коричневых", "коричневые"),
    "black": ("чёрный", "чёрная", "чёрное", "чёрных", "чёрные"),
    "white": ("белый", "белая", "белое", "белых", "белые"),
    "grey": ("серый", "серая", "серое", "серых", "серые"),
}
_RU_SIZES: dict[str, _RuForms] = {
    "small": ("маленький", "маленькая", "маленькое", "маленьких", "маленькие"),
    "large": ("большой", "большая", "большое", "больших", "большие"),
}
# gender, nominative, and the genitive that stands after 2-4
_RU_SHAPES = {
    "circle": ("m", "круг", "круга"),
    "square": ("m", "квадрат", "квадрата"),
    "triangle": ("m", "треугольник", "треугольника"),
    "star": ("f", "звезда", "звезды"),
    "heart": ("n", "сердце", "сердца"),
    "cross": ("m", "крест", "креста"),
    "ring": ("n", "кольцо", "кольца"),
    "diamond": ("m", "ромб", "ромба"),
    "crescent": ("m", "полумесяц", "полумесяца"),
    "hexagon": ("m", "шестиугольник", "шестиугольника"),
}
_GENDERS = "mfn"


def polish_noun(said: Noun) -> str:
    """`czerwone koło`, `małe czerwone koło`, `dwa czerwone koła`, `dwie czerwone gwiazdy`."""
    gender, one, many = _PL_SHAPES[said.shape]
    place = 3 if said.count > 1 else _GENDERS.index(gender)
    number = {2: "dwie" if gender == "f" else "dwa", 3: "trzy", 4: "cztery"}.get(said.count, "")
    size = _PL_SIZES[said.size][place] if said.size in _PL_SIZES else ""
    words = (number, size, _PL_COLOURS[said.colour][place], many if said.count > 1 else one)
    return " ".join(word for word in words if word)


def russian_noun(said: Noun) -> str:
    """`красный круг`, `маленький красный круг`, `два красных круга`, `две красные звезды`."""
    gender, one, some = _RU_SHAPES[said.shape]
    place = (4 if gender == "f" else 3) if said.count > 1 else _GENDERS.index(gender)
    number = {2: "две" if gender == "f" else "два", 3: "три", 4: "четыре"}.get(said.count, "")
    size = _RU_SIZES[said.size][place] if said.size in _RU_SIZES else ""
    words = (number, size, _RU_COLOURS[said.colour][place], some if said.count > 1 else one)
    return " ".join(word for word in words if word)


POLISH = Language(
    code="pl",
    noun=polish_noun,
    lists=("{things}", "na obrazku: {things}", "na tym obrazku widać: {things}"),
    grounded=("{things} {ground}", "na obrazku: {things} {ground}"),
    left=("po lewej {a}, po prawej {b}", "po lewej stronie {a}, a po prawej stronie {b}"),
    above=("u góry {a}, u dołu {b}", "na górze {a}, a na dole {b}"),
    counted="{total}: {things}",
    totals={2: "dwie figury", 3: "trzy figury", 4: "cztery figury"},
    grounds={
        "gradient": "na gładkim tle",
        "stripes": "na tle w paski",
        "checks": "na tle w kratkę",
        "dots": "na tle w kropki",
        "clouds": "na tle w plamy",
        "photo": "na tle fotografii",
    },
    last=" i ",
)

RUSSIAN = Language(
    code="ru",
    noun=russian_noun,
    lists=("{things}", "на картинке {things}", "на этом рисунке можно увидеть: {things}"),
    grounded=("{things} {ground}", "на картинке {things} {ground}"),
    left=("слева {a}, справа {b}", "с левой стороны {a}, а с правой {b}"),
    above=("сверху {a}, снизу {b}", "вверху {a}, а внизу {b}"),
    counted="{total}: {things}",
    totals={2: "две фигуры", 3: "три фигуры", 4: "четыре фигуры"},
    grounds={
        "gradient": "на плавном фоне",
        "stripes": "на полосатом фоне",
        "checks": "на клетчатом фоне",
        "dots": "на фоне в горошек",
        "clouds": "на пятнистом фоне",
        "photo": "на фоне фотографии",
    },
    last=" и ",
)
