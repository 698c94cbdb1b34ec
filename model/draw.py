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
    # the built-in font has Latin letters alone
    shown = words.strip().encode("latin-1", "replace").decode("latin-1")[:40]
    if shown:
        pen.text((x + 3, max(y - 12, 0)), shown, fill=colour)


def thumbnail(data: bytes, phrases: Sequence[Phrase], side: int = 240) -> bytes:
    """A small JPEG of stored picture bytes with regions drawn on it; empty where it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            small = drawn(image, phrases)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()
