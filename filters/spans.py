"""Which of overlapping labels of a caption to keep.

Kosmos-2's GRIT labels `a dog`, and `a dog in the grass` over it. Qwen-VL keeps as many boxes as it can such
that no two kept labels overlap (arXiv 2308.12966, A.3): the labels are intervals of characters, and the
choice is weighted interval scheduling.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """A label: characters from `start` to before `end`, its number of boxes, its score in millionths."""

    start: int
    end: int
    boxes: int
    score: int = 0


def choose(spans: Sequence[Span]) -> list[int]:
    """The indices, in reading order, of the spans with the most boxes among which no two overlap.

    Exact, in n log n. Of sets with equally many boxes the one of fewer characters, then of the higher score.
    """
    order = _by_end(spans)
    ends = [spans[index].end for index in order]
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    before: list[int] = []
    for place, index in enumerate(order):
        span = spans[index]
        free = bisect_right(ends, span.start, 0, place)
        before.append(free)
        boxes, length, score = best[free]
        taken = (boxes + span.boxes, length - (span.end - span.start), score + span.score)
        best.append(max(best[-1], taken))
    kept = []
    place = len(order)
    while place:
        if best[place] == best[place - 1]:
            place -= 1
        else:
            kept.append(order[place - 1])
            place = before[place - 1]
    return kept[::-1]


def choose_greedy(spans: Sequence[Span]) -> list[int]:
    """The indices, in reading order, that taking the earliest end each time keeps.

    The greedy choice: the most labels, not always the most boxes.
    """
    kept = []
    free = 0
    for index in _by_end(spans):
        if spans[index].start >= free:
            kept.append(index)
            free = spans[index].end
    return kept


def _by_end(spans: Sequence[Span]) -> list[int]:
    for span in spans:
        if not 0 <= span.start < span.end:
            raise ValueError(f"a span must hold characters, not {span.start}-{span.end}")
    return sorted(range(len(spans)), key=lambda index: (spans[index].end, spans[index].start, index))
