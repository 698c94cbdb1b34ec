"""The words a browser shows gathered into lines, and where a long document is cut into pages."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from synth.documents import as_drawn
from synth.regions import TextLine, TextWord

_FLAT: Final = 12
_GAP: Final = 1.2
_CROSSED: Final = 0.1


@dataclass(frozen=True, slots=True)
class Spot:
    """A word in the viewport: its text, its box, its block, and whether white space stands before it."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    block: int
    space: bool


def spots(words: Sequence[Any]) -> list[Spot]:
    """The words as web.js gives them."""
    return [
        Spot(str(text), x, y, x + width, y + height, int(block), bool(space))
        for text, (x, y, width, height), block, space in words
    ]


def breaks(words: Sequence[Spot], above: int, below: int, *, last: bool) -> int:
    """The lowest place in (above, below] for a cut that parts no word; `below` if that is the end.

    Where words lie so thick that no cut is clean in the lower half, the page is cut at `below`.
    """
    if last:
        return below
    cut = below
    for word in sorted(words, key=lambda word: -word.bottom):
        if word.top < cut < word.bottom:
            cut = math.floor(word.top)
    return cut if cut > above + (below - above) // 2 else below


def lines(
    words: Sequence[Spot], above: int, grey: NDArray[np.uint8], drawable: Callable[[str], bool]
) -> tuple[list[TextLine], Counter[str]]:
    """The lines of a page that begins at `above` in the viewport, and how many words it lacks and why.

    `grey` is the page, `drawable` says whether a font has a character. A word is left out that crosses the
    page's edge, of which it shows nothing, or boxes only, or that lies on another.
    """
    height, width = grey.shape
    left_out: Counter[str] = Counter()
    shown: list[Spot] = []
    for word in words:
        if word.bottom <= above or word.top >= above + height:
            continue
        if not as_drawn(word.text):
            continue
        if word.top < above or word.bottom > above + height or word.right > width:
            left_out["outside"] += 1
        elif _is_flat(word, above, grey):
            left_out["invisible"] += 1
        else:
            shown.append(word)
    crossed = _crossed(shown, above, (height, width))
    kept: list[Spot] = []
    for word, lies in zip(shown, crossed, strict=True):
        if lies:
            left_out["overlapping"] += 1
        elif not all(drawable(char) for char in as_drawn(word.text)):
            left_out["without_font"] += 1
        else:
            kept.append(word)
    return [_line(row, above) for row in _rows(kept)], left_out


def _crossed(words: Sequence[Spot], above: int, size: tuple[int, int]) -> list[bool]:
    """Which words have others across their middle; lines that are set tight share their edges only."""
    covers = np.zeros(size, np.uint8)
    cores = []
    for word in words:
        rise, inset = 0.2 * (word.bottom - word.top), 1 + 0.1 * (word.right - word.left)
        inset = min(inset, 3.0)
        top, bottom = round(word.top - above + rise), round(word.bottom - above - rise)
        left, right = max(round(word.left + inset), 0), round(word.right - inset)
        core = covers[top : max(bottom, top + 1), left : max(right, left + 1)]
        np.minimum(core, 1, out=core)
        core += 1
        cores.append(core)
    return [core.size > 0 and float((core > 1).mean()) > _CROSSED for core in cores]


def _rows(words: Sequence[Spot]) -> list[list[Spot]]:
    """Words of one block on one height, with no gap as between columns; blocks in the order of the document."""
    rows: list[list[Spot]] = []
    for word in words:
        if rows and _continues(rows[-1][-1], word):
            rows[-1].append(word)
        else:
            rows.append([word])
    return rows


def _continues(last: Spot, word: Spot) -> bool:
    size = max(min(last.bottom - last.top, word.bottom - word.top), 1.0)
    shared = min(last.bottom, word.bottom) - max(last.top, word.top)
    gap = max(word.left - last.right, last.left - word.right)
    return last.block == word.block and shared > 0.5 * size and gap < _GAP * size


def _line(row: Sequence[Spot], above: int) -> TextLine:
    parts: list[list[Spot]] = []
    for word in row:
        if parts and not word.space and abs(word.left - parts[-1][-1].right) < 2:
            parts[-1].append(word)
        else:
            parts.append([word])
    words = tuple(TextWord(as_drawn("".join(one.text for one in part)), _quad(part, above)) for part in parts)
    text = words[0].text
    for part, told in zip(parts[1:], words[1:], strict=True):
        text += (" " if part[0].space else "") + told.text
    return TextLine(text, _quad(row, above), words)


def _quad(
    row: Sequence[Spot], above: int
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]:
    left, right = round(max(min(one.left for one in row), 0), 2), round(max(one.right for one in row), 2)
    top = round(max(min(one.top for one in row) - above, 0), 2)
    bottom = round(max(one.bottom for one in row) - above, 2)
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _is_flat(word: Spot, above: int, grey: NDArray[np.uint8]) -> bool:
    """Whether the page shows one even shade where the word should be."""
    left, right = max(math.floor(word.left), 0), max(math.ceil(word.right), 1)
    top, bottom = max(math.floor(word.top) - above, 0), max(math.ceil(word.bottom) - above, 1)
    part = grey[top:bottom, left:right]
    return part.size == 0 or int(part.max()) - int(part.min()) < _FLAT
