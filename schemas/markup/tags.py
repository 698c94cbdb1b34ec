"""The parts that writing and reading share: tags and their escapes, pieces, tokens, loss spans, the grid.

A tag inside text is written with one more backslash after its `<`: `<ref>` becomes `<\ref>`, `<\ref>`
becomes `<\\ref>`. Nothing else changes, so ordinary text is written as it is, and reading takes the
backslash off again. Coordinates are whole numbers from 0 to 999, relative to the stored image.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from schemas.sample import Box, Quad, Text

EOS: Final = "<|endoftext|>"
IM_START: Final = "<|im_start|>"
IM_END: Final = "<|im_end|>"

_NAME: Final = r"(?:/?(?:img|ref|box|quad)|imgpad|\|(?:endoftext|im_start|im_end|extra_[0-9]{1,3})\|)>"
TAG: Final = re.compile("<" + _NAME)
_SPELLED: Final = re.compile(rf"<(?=\\*{_NAME})")
_ESCAPED: Final = re.compile(rf"<\\(?=\\*{_NAME})")
_SPACED: Final = re.compile(r"\\* ")


def escape(text: str) -> str:
    """Returns `text` with every tag that it spells made plain text."""
    return escape_run([text])[0]


def escape_run(parts: Sequence[str]) -> list[str]:
    """Returns the parts of one run of text, escaped as one: a tag may begin in one part and end in the next."""
    joined = "".join(parts)
    if "<" not in joined:
        return list(parts)
    places = [match.start() + 1 for match in _SPELLED.finditer(joined)]
    written, start = [], 0
    for part in parts:
        end = start + len(part)
        # the backslash follows its `<` into whichever part holds that
        inside = places[bisect_left(places, start + 1) : bisect_left(places, end + 1)]
        edges = [start, *inside, end]
        written.append("\\".join(joined[a:b] for a, b in pairwise(edges)))
        start = end
    return written


def unescape(text: str) -> str:
    """Returns what `escape` was given."""
    return unescape_cut(text, ())[0]


def unescape_cut(text: str, cuts: Sequence[int]) -> list[str]:
    """Returns `text` unescaped as one run, and cut at the places `cuts` (ascending, in characters of `text`)."""
    removed = [match.start() + 1 for match in _ESCAPED.finditer(text)] if "<\\" in text else []
    plain = _ESCAPED.sub("<", text) if removed else text
    edges = [0, *(cut - bisect_left(removed, cut) for cut in cuts), len(plain)]
    return [plain[a:b] for a, b in pairwise(edges)]


def guard(phrase: str) -> str:
    r"""Returns `phrase` so that no space of its own leads it: a leading space gets a backslash before it."""
    return "\\" + phrase if _SPACED.match(phrase) else phrase


def unguard(phrase: str) -> str:
    """Returns what `guard` was given."""
    return phrase[1:] if phrase.startswith("\\") and _SPACED.match(phrase) else phrase


Span = tuple[int, int]
"""First character, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one kind: a `tag` is one special token, an `image` stands for an image's span of tokens.

    The text of a piece of kind `text` is plain: tokenise it with no special token allowed, and words that
    spell a tag stay words. A tokeniser that reads piece by piece cuts where the published script cuts.
    """

    text: str
    kind: Literal["text", "tag", "image"] = "text"
    loss: bool = False
    image: int = -1


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """The characters from <img> to </img> of one showing of image `image`."""

    image: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """What `render` gives: `text` with tags, in which text that spells a tag is escaped.

    `loss`: ascending, disjoint, never touching spans of the characters that are taught. `images` in order of
    appearance. `task`: whose template was used, empty for none. `pieces`: the same, cut for a tokeniser.
    """

    text: str
    loss: tuple[Span, ...]
    images: tuple[ImagePlace, ...]
    task: str
    pieces: tuple[Piece, ...]


def assemble(pieces: Iterable[Piece], task: str) -> Rendered:
    """Returns the rendered sample that `pieces`, laid end to end, make."""
    kept = tuple(piece for piece in pieces if piece.text)
    loss: list[Span] = []
    images: list[ImagePlace] = []
    at = 0
    written = _written(kept)
    for piece, text in zip(kept, written, strict=True):
        end = at + len(text)
        if piece.kind == "image":
            images.append(ImagePlace(piece.image, at, end))
        if piece.loss and loss and loss[-1][1] == at:
            loss[-1] = (loss[-1][0], end)
        elif piece.loss:
            loss.append((at, end))
        at = end
    return Rendered("".join(written), tuple(loss), tuple(images), task, kept)


def _written(pieces: tuple[Piece, ...]) -> list[str]:
    written: list[str] = []
    run: list[str] = []
    for piece in pieces:
        if piece.kind == "text":
            run.append(piece.text)
            continue
        if run:
            written += escape_run(run)
            run = []
        written.append(piece.text)
    return written + escape_run(run)


@dataclass(frozen=True, slots=True)
class Token:
    """Characters from `start` to `end`; `tag` is the tag they spell, empty for text between tags."""

    start: int
    end: int
    tag: str = ""


def tokens(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Returns the tags and texts of text[start:end], in order, without empty texts."""
    end = len(text) if end is None else end
    found = []
    at = start
    for match in TAG.finditer(text, start, end):
        if match.start() > at:
            found.append(Token(at, match.start()))
        at = match.end()
        found.append(Token(match.start(), at, match[0]))
    if at < end:
        found.append(Token(at, end))
    return found


class Loss:
    """The spans that carry loss: ascending and disjoint."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._edges = [edge for span in spans if span[0] < span[1] for edge in span]
        if any(a > b for a, b in pairwise(self._edges)):
            raise ValueError("loss spans must be ascending and disjoint")

    def at(self, place: int) -> bool:
        """Returns whether the character at `place` carries loss."""
        return bisect_right(self._edges, place) % 2 == 1

    def any(self, start: int, end: int) -> bool:
        """Returns whether any character from `start` to `end` carries loss."""
        return self.at(start) or bisect_right(self._edges, start) < bisect_left(self._edges, end)

    def texts(self, text: str, start: int, end: int) -> list[Text]:
        """Returns text[start:end], unescaped, cut where supervision changes."""
        edges = self._edges[bisect_right(self._edges, start) : bisect_left(self._edges, end)]
        cuts = sorted(set(edges))
        parts = unescape_cut(text[start:end], [cut - start for cut in cuts])
        places = [start, *cuts]
        return [Text(part, self.at(place)) for part, place in zip(parts, places, strict=True)]


GRID: Final = 1000
"""Cells a side."""

Size = tuple[int, int]
"""Width and height of an image, in pixels."""

Inverse = Literal["centre", "drawing", "evaluation"]


def quantise(value: float, size: int, grid: int = GRID) -> int:
    """Returns the cell of a coordinate: floor(value / size * grid), clamped to 0 .. grid - 1."""
    return min(max(math.floor(value * grid / size), 0), grid - 1)


def dequantise(cell: int, size: int, inverse: Inverse = "centre") -> float:
    """Returns pixels of a cell, two decimals: its centre, or as in published drawing (/ 1000), evaluation (/ 999)."""
    if inverse == "drawing":
        return round(cell * size / GRID, 2)
    if inverse == "evaluation":
        return round(cell * size / (GRID - 1), 2)
    return round((cell + 0.5) * size / GRID, 2)


def box_cells(box: Box, size: Size) -> tuple[int, int, int, int]:
    """Returns the four cells of a box."""
    width, height = size
    x1, y1, x2, y2 = box
    return quantise(x1, width), quantise(y1, height), quantise(x2, width), quantise(y2, height)


def quad_cells(quad: Quad, size: Size) -> list[tuple[int, int]]:
    """Returns the four cells of a quad's corners."""
    width, height = size
    return [(quantise(x, width), quantise(y, height)) for x, y in quad]


def nearest(cell: int, step: int) -> int:
    """Returns the multiple of `step` nearest to a cell, of two the larger one; clamped as `quantise`."""
    return min((cell + step // 2) // step * step, GRID - 1)


def cells_box(cells: Sequence[int], size: Size) -> Box:
    """Returns pixels of a box of cells, never without extent: within one cell it reaches from a quarter to three."""
    x1, y1, x2, y2 = cells
    left, right = _edges(x1, x2, size[0])
    top, bottom = _edges(y1, y2, size[1])
    return left, top, right, bottom


def cells_quad(cells: Sequence[int], size: Size) -> Quad:
    """Returns pixels of a quad of cells."""
    xs = [dequantise(cell, size[0]) for cell in cells[0::2]]
    ys = [dequantise(cell, size[1]) for cell in cells[1::2]]
    first, second, third, fourth = zip(xs, ys, strict=True)
    return first, second, third, fourth


def _edges(low: int, high: int, size: int) -> tuple[float, float]:
    if low == high:
        return round((low + 0.25) * size / GRID, 2), round((low + 0.75) * size / GRID, 2)
    return dequantise(low, size), dequantise(high, size)
