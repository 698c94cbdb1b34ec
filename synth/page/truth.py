"""What is told of the lines that were set: their texts, and their quads once carried onto the page."""

from collections.abc import Callable, Sequence
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
    quads = _quads([word.bounds for word in line.words], pad, carry, page)
    kept = [(word, quad) for word, quad in zip(line.words, quads, strict=True) if quad is not None]
    line = replace(line, words=tuple(word for word, _ in kept))
    quad = _quads([line.bounds], pad, carry, page)[0] if kept else None
    if quad is None:
        return replace(line, words=()), None
    words = tuple(
        TextWord(word.text, place, _characters(word.characters, carry, page)) for word, place in kept
    )
    return line, TextLine(line.text, quad, words)


def _characters(
    characters: tuple[tuple[str, Bounds], ...], carry: Carry, page: tuple[int, int]
) -> tuple[TextRegion, ...]:
    quads = _quads([bounds for _, bounds in characters], PAD, carry, page)
    return tuple(
        TextRegion(text, quad) for (text, _), quad in zip(characters, quads, strict=True) if quad is not None
    )


def _quads(bounds: Sequence[Bounds], pad: float, carry: Carry, page: tuple[int, int]) -> list[Quad | None]:
    """The corners of each of `bounds` and `pad` pixels more, on the page; None where more than the pad lies
    off it. All corners are carried at once."""
    if not bounds:
        return []
    x1, y1, x2, y2 = (np.array(bounds, np.float64) + np.array([-pad, -pad, pad, pad])).T
    corners = carry(np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 2))
    held = np.clip(corners, 0, page)
    off = np.abs(held - corners).reshape(-1, 8).max(axis=1) > pad + _SLACK
    return [
        None if lost else _quad(four) for lost, four in zip(off, held.reshape(-1, 4, 2).tolist(), strict=True)
    ]


def _quad(corners: Sequence[Sequence[float]]) -> Quad:
    a, b, c, d = ((round(x, 2), round(y, 2)) for x, y in corners)
    return a, b, c, d
