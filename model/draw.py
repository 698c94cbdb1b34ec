"""Boxes and quads drawn on pictures."""

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from schemas.sample import Phrase

_COLOURS: Final = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


def drawn(image: Image.Image, phrases: Sequence[Phrase]) -> Image.Image:
    """A copy of `image` with each phrase's regions outlined and named."""
    copy = image.convert("RGB")
    pen = ImageDraw.Draw(copy)
    width = max(2, round(max(copy.size) / 250))
    for number, phrase in enumerate(phrases):
        colour = _COLOURS[number % len(_COLOURS)]
        for x1, y1, x2, y2 in phrase.boxes:
            pen.rectangle((x1, y1, x2, y2), outline=colour, width=width)
            _name(pen, phrase.phrase, x1, y1, colour)
        for quad in phrase.quads:
            pen.line([*quad, quad[0]], fill=colour, width=width)
    return copy


def _name(pen: ImageDraw.ImageDraw, words: str, x: float, y: float, colour: str) -> None:
    shown = words.strip()[:40]
    # the built-in font has Latin letters alone, and a row of question marks tells nothing
    if shown.isascii():
        pen.text((x + 3, max(y - 12, 0)), shown, fill=colour)


def _truth(image: Image.Image, phrases: Sequence[Phrase]) -> Image.Image:
    """A copy of `image` with each phrase's regions in white on black, so that they show on any ground."""
    copy = image.convert("RGB")
    pen = ImageDraw.Draw(copy)
    width = max(1, round(max(copy.size) / 400))
    quads = [
        *(quad for phrase in phrases for quad in phrase.quads),
        *(((x1, y1), (x2, y1), (x2, y2), (x1, y2)) for phrase in phrases for x1, y1, x2, y2 in phrase.boxes),
    ]
    for colour, wide in (("black", 3 * width), ("white", width)):
        for quad in quads:
            pen.line([*quad, quad[0]], fill=colour, width=wide)
    return copy


def thumbnail(data: bytes, phrases: Sequence[Phrase], truth: Sequence[Phrase] = (), side: int = 240) -> bytes:
    """A small JPEG of stored picture bytes with regions drawn on it, over the true ones in white; empty where it
    cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            small = drawn(_truth(image, truth), phrases)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()
