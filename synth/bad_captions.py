"""Defects of captions: each takes a sound row and gives it back with the defect in its caption."""

import html as markup
import random
from typing import Final

from synth import content
from synth.rows import Row, says

PATTERNS: Final = (
    "IMG_20190314_{:06d}.jpg", "DSC{:05d}.JPG", "https://demo.example/p/{:06d}.png", "2017-03-02 11:{:02.0f}",
    "0000{:07d}", "image{:03d}.jpeg", "www.demo.example/photos/{:04d}", "untitled-{:d}.png", "{:08d}_{:d}",
    "DCIM/100MEDIA/PHOTO{:04d}.JPG", "photo photo photo photo photo", "{:d}.{:d}.2015",
)  # fmt: skip
EMOJI: Final = (
    "😀", "🐶", "🔥", "❤\ufe0f", "🎉", "🍕", "\U0001f469\u200d\U0001f680", "👍\U0001f3fd", "🇪🇸",
    "1\ufe0f\u20e3", "🌈", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
)  # fmt: skip
FOREIGN: Final = (
    "красивая картинка", "Ελληνικό κείμενο", "صورة جميلة", "תמונה יפה", "ภาพสวยมาก",
    "きれいなイラスト", "예쁜 그림 보기", "सुंदर चित्र",
)  # fmt: skip
WRAPS: Final = (
    "<p>{}</p>", '<a href="/x?id=3">{}</a><br/>', "<b>{}</b>&nbsp;", '<span class="c">{}</span>',
    "<div><em>{}</em></div>", '<font color="red">{}</font>', "{}<br>", '<img src="a.jpg" alt=""> {}',
)  # fmt: skip
TAGS: Final = {
    "en": ("<PERSON> with {}", "{} by <PERSON>", "<PERSON> and <PERSON> showing {}"),
    "zh": ("<PERSON>的作品：{}", "{}，<PERSON>拍摄", "<PERSON>和{}"),
}
TYPOGRAPHY: Final = ("{} – a “demo” picture", "“{}” — by Zoë Müller", "{}… at the café", "{} – it’s déjà vu")


def _text(row: Row) -> str:
    return row.caption or ""


def short(row: Row, rng: random.Random) -> Row:
    return says(row, _text(row)[: rng.randint(1, 2)].strip())


def long(row: Row, rng: random.Random) -> Row:
    """A page's whole text: captions of many pictures run together."""
    parts, length = [_text(row)], 0
    while length < 1500:
        parts.append(content.unlike(row.content, row.language, rng))
        length = sum(map(len, parts)) + len(parts)
    return says(row, " ".join(parts))


def pattern(row: Row, rng: random.Random) -> Row:
    return says(row, rng.choice(PATTERNS).format(rng.randrange(1, 28), rng.randrange(1, 12)))


def emoji(row: Row, rng: random.Random) -> Row:
    symbols = "".join(rng.sample(EMOJI, rng.choice((1, 1, 2))))
    return says(row, f"{_text(row)} {symbols}" if rng.random() < 0.7 else f"{symbols} {_text(row)}")


def script(row: Row, rng: random.Random) -> Row:
    return says(row, f"{_text(row)} {rng.choice(('|', '/', '-'))} {rng.choice(FOREIGN)}")


def special_tag(row: Row, rng: random.Random) -> Row:
    return says(row, rng.choice(TAGS[row.language]).format(_text(row)))


def html(row: Row, rng: random.Random) -> Row:
    text = _text(row)
    if rng.random() < 0.4:
        text = f"{text} & {'Co' if row.language == 'en' else '更多'}"
    return says(row, rng.choice(WRAPS).format(markup.escape(text)), text)


def mojibake(row: Row, rng: random.Random) -> Row:
    """UTF-8 read as Windows-1252, as browsers do it: the five bytes that it lacks become controls."""
    text = _text(row) if row.language == "zh" else rng.choice(TYPOGRAPHY).format(_text(row))
    wrong = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in text.encode())
    return says(row, wrong, text)


def mismatch(row: Row, rng: random.Random) -> Row:
    return says(row, content.unlike(row.content, row.language, rng))
