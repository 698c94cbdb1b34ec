"""How each defect of the demo crawl is put into a sound row.

A row of the demo crawl as it will be written.

What is planted in the demo crawl, how often, and which rule ought to say so. One defect a row.

Defects of captions: each takes a sound row and gives it back with the defect in its caption.

Defects of pictures: each takes a sound row and gives it back with the defect in its picture.

Second rows of a picture: each takes a sound row and gives back its twin.
"""

import html as markup
import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from PIL import Image

from synth import content
from synth.content import Content


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the crawl as it will be written. `form` is the suffix of the image's member;
    `clean_caption` is what cleaning must leave of a caption that needs it."""

    content: Content
    language: str
    caption: str | None
    form: str
    data: bytes
    url: str = ""
    exif: str = "{}"
    clean_caption: str | None = None


def says(row: Row, caption: str | None, clean: str | None = None) -> Row:
    """The row with another caption, and what cleaning must leave of it where it needs any."""
    return replace(row, caption=caption, clean_caption=clean)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a defect calls for: a rule that drops it, an error that quarantines it, or neither (kept).

    `also` are rules that may fail with it without being wrong; `weight` is its share of the rows in
    thousandths.
    """

    weight: int
    rule: str | None = None
    error: str | None = None
    also: tuple[str, ...] = ()


_COPIES = ("exact", "pixels", "phash")

SAYS: Final[dict[str, Verdict]] = {
    "none": Verdict(0),
    "html": Verdict(30),
    "mojibake": Verdict(20),
    "turned": Verdict(15),
    "translation": Verdict(15),
    "no_caption": Verdict(10, "no_caption", also=("caption_length",)),
    "special_tag": Verdict(20, "special_tag"),
    "pattern": Verdict(25, "pattern", also=("caption_length", "no_caption", "language")),
    "short": Verdict(15, "caption_length", also=("language", "pattern")),
    "long": Verdict(15, "caption_length", also=("pattern",)),
    "script": Verdict(20, "script", also=("language",)),
    "emoji": Verdict(25, "emoji"),
    "language": Verdict(60, "language", also=("script",)),
    "aspect": Verdict(25, "aspect_ratio", also=("min_side",)),
    "small": Verdict(25, "min_side"),
    "blank": Verdict(15, "blank", also=(*_COPIES, "clip")),
    "mismatch": Verdict(60, "clip"),
    "repeat": Verdict(20, "repeat", also=_COPIES),
    "exact_dup": Verdict(25, "exact", also=_COPIES),
    "pixels_dup": Verdict(20, "pixels", also=("pixels", "phash")),
    "near_dup": Verdict(40, "phash"),
    "truncated": Verdict(7, error="truncated"),
    "empty": Verdict(6, error="empty"),
    "not_image": Verdict(6, error="not_image"),
    "bomb": Verdict(5, error="too_many_pixels"),
}
"""Every defect by name, in the order of the rules; `none` takes what the others leave."""

TWINS: Final = ("translation", "repeat", "exact_dup", "pixels_dup", "near_dup")
"""Defects that are a second row of another row's picture."""


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


def aspect(row: Row, rng: random.Random) -> Row:
    ratio = rng.uniform(3.4, 5.0)
    shown = content.draw_scene(rng, ratio if rng.random() < 0.6 else 1 / ratio, rng.randint(90, 260))
    return _shows(row, shown, rng)


def small(row: Row, rng: random.Random) -> Row:
    ratio = rng.uniform(0.6, 1.7)
    return _shows(row, content.draw_scene(rng, ratio, rng.randint(48, 170)), rng)


def _shows(row: Row, shown: Content, rng: random.Random) -> Row:
    """The row with another picture and its caption."""
    caption = content.describe(shown, row.language, rng)
    return replace(row, content=shown, caption=caption, data=content.encode(content.picture(shown), row.form))


def blank(row: Row, rng: random.Random) -> Row:
    colour = rng.choice(
        [(0, 0, 0), (255, 255, 255), (rng.randrange(256), rng.randrange(256), rng.randrange(256))]
    )
    return replace(row, data=content.encode(Image.new("RGB", row.content.size, colour), row.form))


def truncated(row: Row, rng: random.Random) -> Row:
    return replace(row, data=row.data[: int(len(row.data) * rng.uniform(0.35, 0.7))])


def not_image(row: Row, rng: random.Random) -> Row:
    page = rng.choice(
        (
            b"<!DOCTYPE html><html><body>404 not found</body></html>",
            b'{"error": "hotlinking is not allowed", "status": 403}',
            b"Not Found\n",
        )
    )
    return replace(row, data=page)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(row: Row, rng: random.Random) -> Row:
    """A sound PNG header that announces thousands of millions of pixels, over next to no data."""
    side = rng.randint(40_000, 60_000)
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = (
        b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(4096), 0)) + _chunk(b"IEND", b"")
    )
    return replace(row, data=data, form="png")


# how a picture is stored so that its EXIF turn shows it upright, and what img2dataset notes of it
_TURNS: Final = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, "Mirrored horizontal"),
    3: (Image.Transpose.ROTATE_180, "Rotated 180"),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, "Mirrored vertical"),
    5: (Image.Transpose.TRANSPOSE, "Mirrored horizontal then rotated 90 CCW"),
    6: (Image.Transpose.ROTATE_90, "Rotated 90 CW"),
    7: (Image.Transpose.TRANSVERSE, "Mirrored horizontal then rotated 90 CW"),
    8: (Image.Transpose.ROTATE_270, "Rotated 90 CCW"),
}


def turned(row: Row, rng: random.Random) -> Row:
    turn = rng.choice(tuple(_TURNS))
    exif = Image.Exif()
    exif[0x0112] = turn
    out = io.BytesIO()
    stored = content.picture(row.content).transpose(_TURNS[turn][0])
    stored.save(out, "JPEG", quality=88, subsampling="4:2:0", exif=exif)
    return replace(row, data=out.getvalue(), form="jpg", exif=f'{{"Image Orientation": "{_TURNS[turn][1]}"}}')


def exact_dup(row: Row, rng: random.Random) -> Row:
    return says(row, content.describe(row.content, row.language, rng))


def pixels_dup(row: Row, rng: random.Random) -> Row:
    form = "webp" if row.form == "png" else "png"
    with Image.open(io.BytesIO(row.data)) as image:
        return replace(exact_dup(row, rng), form=form, data=content.encode(image.convert("RGB"), form, 100))


def near_dup(row: Row, rng: random.Random) -> Row:
    """Smaller, and compressed again; never so small that another rule would have it."""
    with Image.open(io.BytesIO(row.data)) as image:
        colour = image.convert("RGB")
    scale = rng.uniform(max(0.5, 206 / min(colour.size)), 0.9)
    size = round(colour.width * scale), round(colour.height * scale)
    data = content.encode(colour.resize(size, Image.Resampling.BICUBIC), "jpg", rng.randint(55, 75))
    return replace(exact_dup(row, rng), form="jpg", data=data)


def translation(row: Row, rng: random.Random) -> Row:
    other = "zh" if row.language == "en" else "en"
    return replace(row, language=other, caption=content.describe(row.content, other, rng))


Plant = Callable[[Row, random.Random], Row]


def _as_is(row: Row, rng: random.Random) -> Row:
    return row


PLANTS: Final[dict[str, Plant]] = {
    "none": _as_is,
    "html": html,
    "mojibake": mojibake,
    "turned": turned,
    "translation": translation,
    "no_caption": lambda row, rng: says(row, rng.choice((None, ""))),
    "special_tag": special_tag,
    "pattern": pattern,
    "short": short,
    "long": long,
    "script": script,
    "emoji": emoji,
    "language": _as_is,
    "aspect": aspect,
    "small": small,
    "blank": blank,
    "mismatch": mismatch,
    "repeat": _as_is,
    "exact_dup": exact_dup,
    "pixels_dup": pixels_dup,
    "near_dup": near_dup,
    "truncated": truncated,
    "empty": lambda row, rng: replace(row, data=b""),
    "not_image": not_image,
    "bomb": bomb,
}
"""How each defect is put into a sound row; for twins the row is the other row's."""
