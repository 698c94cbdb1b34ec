from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.spans import Span, choose, choose_greedy

spans = st.builds(
    lambda start, length, boxes, score: Span(start, start + length, boxes, score),
    st.integers(0, 20),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(0, 3),
)


def apart(kept: list[Span]) -> bool:
    return all(a.end <= b.start or b.end <= a.start for a, b in combinations(kept, 2))


def worth(kept: list[Span]) -> tuple[int, int, int]:
    return (
        sum(one.boxes for one in kept),
        -sum(one.end - one.start for one in kept),
        sum(one.score for one in kept),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(spans, max_size=8))
def test_the_choice_is_as_good_as_brute_force(given_: list[Span]) -> None:
    """No set of labels that do not overlap has more boxes, fewer characters at as many, or a better score."""
    kept = [given_[index] for index in choose(given_)]
    assert apart(kept)
    assert kept == sorted(kept, key=lambda one: one.start)
    subsets = (list(some) for n in range(len(given_) + 1) for some in combinations(given_, n))
    assert worth(kept) == max(worth(some) for some in subsets if apart(some))


@settings(deadline=None)
@given(st.lists(spans, max_size=8))
def test_greedy_keeps_the_most_labels(given_: list[Span]) -> None:
    """Earliest end first is the best choice where every label counts one."""
    kept = [given_[index] for index in choose_greedy(given_)]
    assert apart(kept)
    ones = [one._replace(boxes=1) for one in given_]
    assert len(kept) == len(choose(ones))


def test_two_short_phrases_beat_the_expression_over_both() -> None:
    """The case the paper's authors give: the long referring expression goes."""
    caption = "a dog next to a red ball"
    labels = [Span(0, 5, 1), Span(0, len(caption), 1), Span(14, 24, 1)]
    assert choose(labels) == [0, 2]


def test_many_boxes_beat_many_labels() -> None:
    """One label of five boxes is kept over two labels of one, unless the greedy choice is asked for."""
    labels = [Span(0, 5, 1), Span(0, 20, 5), Span(10, 20, 1)]
    assert choose(labels) == [1]
    assert choose_greedy(labels) == [0, 2]


def test_a_hundred_thousand_labels_take_no_time() -> None:
    """The choice is not quadratic."""
    labels = [Span(n, n + 7, 1 + n % 3) for n in range(100_000)]
    assert len(choose(labels)) > 10_000


@pytest.mark.parametrize("span", [Span(3, 3, 1), Span(4, 3, 1), Span(-1, 3, 1)])
def test_a_label_must_hold_characters(span: Span) -> None:
    """An empty or reversed span is a mistake of the caller."""
    with pytest.raises(ValueError, match="must hold characters"):
        choose([span])
