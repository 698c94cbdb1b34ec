"""A text cut into tags and what lies between them, and which of its characters carry loss."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from schemas.markup.pieces import Span
from schemas.markup.tags import TAG, unescape_cut
from schemas.sample import Text


@dataclass(frozen=True, slots=True)
class Token:
    """Characters from `start` to `end`; `tag` is the tag they spell, empty for text between tags."""

    start: int
    end: int
    tag: str = ""


def tokens(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """The tags and texts of text[start:end], in order, without empty texts."""
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
        """Whether the character at `place` carries loss."""
        return bisect_right(self._edges, place) % 2 == 1

    def any(self, start: int, end: int) -> bool:
        """Whether any character from `start` to `end` carries loss."""
        return self.at(start) or bisect_right(self._edges, start) < bisect_left(self._edges, end)

    def texts(self, text: str, start: int, end: int) -> list[Text]:
        """text[start:end], unescaped, cut where supervision changes."""
        edges = self._edges[bisect_right(self._edges, start) : bisect_left(self._edges, end)]
        cuts = sorted(set(edges))
        parts = unescape_cut(text[start:end], [cut - start for cut in cuts])
        places = [start, *cuts]
        return [Text(part, self.at(place)) for part, place in zip(parts, places, strict=True)]
