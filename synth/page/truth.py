"""What is told of the lines that were set: their texts, and their quads once carried onto the page."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.sample import Quad
from synth.page.typeset import Bounds, Line
from synth.regions import TextLine, TextRegion, TextWord

PAD: Final = 1.0
"""Pixels around ink that belong to it: what interpolation and blur smear."""
_PAD_EM: Final = 0.06
_SLACK: Final = 1.0

Carry = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Takes (N, 2) points from the document to the page."""


def told(line: Line, carry: Carry, page: tuple[int, int]) -> tuple[Line, TextLine | None]:
    """(the line without the words that lie off the page, what is told of the rest; None where nothing is left)."""
    pad = PAD + _PAD_EM * line.size
    quads = [_quad(word.bounds, pad, carry, page) for word in line.words]
    kept = [(word, quad) for word, quad in zip(line.words, quads, strict=True) if quad is not None]
    line = replace(line, words=tuple(word for word, _ in kept))
    quad = _quad(line.bounds, pad, carry, page) if kept else None
    if quad is None:
        return replace(line, words=()), None
    words = tuple(
        TextWord(word.text, place, _characters(word.characters, carry, page)) for word, place in kept
    )
    return line, TextLine(line.text, quad, words)


def _characters(
    characters: tuple[tuple[str, Bounds], ...], carry: Carry, page: tuple[int, int]
) -> tuple[TextRegion, ...]:
    quads = [(text, _quad(bounds, PAD, carry, page)) for text, bounds in characters]
    return tuple(TextRegion(text, quad) for text, quad in quads if quad is not None)


def _quad(bounds: Bounds, pad: float, carry: Carry, page: tuple[int, int]) -> Quad | None:
    """The corners of `bounds` and `pad` pixels more, on the page; None where more than the pad lies off it."""
    x1, y1, x2, y2 = bounds[0] - pad, bounds[1] - pad, bounds[2] + pad, bounds[3] + pad
    corners = carry(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float64))
    held = np.clip(corners, 0, page)
    if np.abs(held - corners).max() > pad + _SLACK:
        return None
    a, b, c, d = ((round(x, 2), round(y, 2)) for x, y in held.tolist())
    return a, b, c, d
