"""The defects that are planted in the demo crawl, one a row: how each is put into a sound row, how often it stands
there, and which rule ought to say so.
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


def no_caption(row: Row, rng: random.Random) -> Row:
    return says(row, rng.choice((None, "")))


def short(row: Row, rng: random.Random) -> Row:
    return says(row, _text(row)[: rng.randint(1, 2)].strip())


def long(row: Row, rng: random.Random) -> Row:
    """A page's whole text: captions of many images run together."""
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
    """The row with another image and its caption."""
    caption = content.describe(shown, row.language, rng)
    return replace(row, content=shown, caption=caption, data=content.encode(content.picture(shown), row.form))


def blank(row: Row, rng: random.Random) -> Row:
    colour = rng.choice(
        [(0, 0, 0), (255, 255, 255), (rng.randrange(256), rng.randrange(256), rng.randrange(256))]
    )
    return replace(row, data=content.encode(Image.new("RGB", row.content.size, colour), row.form))


def empty(row: Row, rng: random.Random) -> Row:
    return replace(row, data=b"")


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


# how an image is stored so that its EXIF turn shows it upright, and what img2dataset notes of it
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


def _as_is(row: Row, rng: random.Random) -> Row:
    return row


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect, and what it calls for: a rule that drops it, an error that quarantines it, or neither (kept).

    `weight` is its share of the rows in thousandths. `plant` puts it into a sound row, for a twin into the other row.
    `also` are rules that may fail with it without being wrong.
    """

    weight: int
    plant: Callable[[Row, random.Random], Row]
    rule: str | None = None
    error: str | None = None
    also: tuple[str, ...] = ()


_COPIES = ("exact", "pixels", "phash")

DEFECTS: Final[dict[str, Defect]] = {
    "none": Defect(0, _as_is),
    "html": Defect(30, html),
    "mojibake": Defect(20, mojibake),
    "turned": Defect(15, turned),
    "translation": Defect(15, translation),
    "no_caption": Defect(10, no_caption, "no_caption", also=("caption_length",)),
    "special_tag": Defect(20, special_tag, "special_tag"),
    "pattern": Defect(25, pattern, "pattern", also=("caption_length", "no_caption", "language")),
    "short": Defect(15, short, "caption_length", also=("language", "pattern")),
    "long": Defect(15, long, "caption_length", also=("pattern",)),
    "script": Defect(20, script, "script", also=("language",)),
    "emoji": Defect(25, emoji, "emoji"),
    "language": Defect(60, _as_is, "language", also=("script",)),
    "aspect": Defect(25, aspect, "aspect_ratio", also=("min_side",)),
    "small": Defect(25, small, "min_side"),
    "blank": Defect(15, blank, "blank", also=(*_COPIES, "clip")),
    "mismatch": Defect(60, mismatch, "clip"),
    "repeat": Defect(20, _as_is, "repeat", also=_COPIES),
    "exact_dup": Defect(25, exact_dup, "exact", also=_COPIES),
    "pixels_dup": Defect(20, pixels_dup, "pixels", also=("pixels", "phash")),
    "near_dup": Defect(40, near_dup, "phash"),
    "truncated": Defect(7, truncated, error="truncated"),
    "empty": Defect(6, empty, error="empty"),
    "not_image": Defect(6, not_image, error="not_image"),
    "bomb": Defect(5, bomb, error="too_many_pixels"),
}
"""Every defect by name, in the order of the rules; `none` takes what the others leave."""

TWINS: Final = ("translation", "repeat", "exact_dup", "pixels_dup", "near_dup")
"""Defects that are a second row of another row's image."""
