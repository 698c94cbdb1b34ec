"""Overlap and non-maximum suppression, against pixel counting and a brute-force oracle."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.detect import iou, suppress

Box = tuple[int, int, int, int]
corner = st.integers(0, 12)
boxes = st.tuples(corner, corner, st.integers(0, 8), st.integers(0, 8)).map(
    lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3])
)


def pixels(box: Box) -> set[tuple[int, int]]:
    """The pixels that a box of whole numbers covers."""
    return set(itertools.product(range(box[0], box[2]), range(box[1], box[3])))


@given(boxes, boxes)
def test_overlap_counts_pixels(a: Box, b: Box) -> None:
    """IoU equals shared pixels over covered pixels, whichever box is first."""
    shared, covered = len(pixels(a) & pixels(b)), len(pixels(a) | pixels(b))
    expected = shared / covered if covered else 0.0
    assert iou(a, [b])[0] == pytest.approx(expected)
    assert iou(b, [a])[0] == pytest.approx(expected)


def slow(found: list[Box], scores: list[float], limit: float) -> list[int]:
    """Suppression by its definition: best first, each compared with all that were kept."""
    kept: list[int] = []
    for index in sorted(range(len(found)), key=lambda at: (-scores[at], at)):
        if all(
            len(pixels(found[index]) & pixels(found[other]))
            <= limit * len(pixels(found[index]) | pixels(found[other]))
            for other in kept
        ):
            kept.append(index)
    return kept


@given(st.lists(st.tuples(boxes, st.integers(0, 4)), max_size=12), st.sampled_from((0.0, 0.3, 0.5, 0.9)))
def test_suppression_is_what_its_definition_says(given_: list[tuple[Box, int]], limit: float) -> None:
    """The same boxes stay, in the same order, ties included."""
    found, scores = [box for box, _ in given_], [score / 4 for _, score in given_]
    assert suppress(found, scores, limit) == slow(found, scores, limit)


@given(st.lists(st.tuples(boxes, st.floats(0, 1)), max_size=12))
def test_no_two_kept_boxes_overlap_too_much(given_: list[tuple[Box, float]]) -> None:
    """What stays is apart; what goes overlaps something better that stays."""
    found, scores = [box for box, _ in given_], [score for _, score in given_]
    kept = suppress(found, scores, 0.5)
    for a, b in itertools.combinations(kept, 2):
        assert iou(found[a], [found[b]])[0] <= 0.5
    for gone in set(range(len(found))) - set(kept):
        assert any(scores[one] >= scores[gone] and iou(found[one], [found[gone]])[0] > 0.5 for one in kept)


def test_nothing_stays_of_nothing() -> None:
    """No boxes, no indices."""
    assert suppress(np.zeros((0, 4)), [], 0.5) == []
