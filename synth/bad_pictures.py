"""Defects of pictures: each takes a sound row and gives it back with the defect in its picture."""

import io
import random
import struct
import zlib
from dataclasses import replace
from typing import Final

from PIL import Image

from synth import content
from synth.content import Content
from synth.rows import Row


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
