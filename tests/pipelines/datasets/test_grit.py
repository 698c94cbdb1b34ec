from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.dataset import build
from pipelines.datasets.drafts import NamedImage
from pipelines.datasets.grit import GREEDY, GRIT
from tests.pipelines.datasets.common import as_sample, loss, one, phrases, records

CAPTION = "a dog next to a red ball"
DOG, ALL, BALL = (
    [0, 5, 0.1, 0.1, 0.5, 0.5, 0.9],
    [0, 24, 0.1, 0.1, 0.5, 0.5, 0.8],
    [14, 24, 0.5, 0.5, 1, 1, 0.7],
)


def grit(*entries: list[float], **changes: Any) -> dict[str, Any]:
    base = {"id": 7, "caption": CAPTION, "width": 100, "height": 100}
    return base | {"noun_chunks": [DOG, BALL], "ref_exps": list(entries)} | changes


def test_the_long_expression_goes_and_both_short_ones_stay() -> None:
    """Recursive labels are overlapping spans: the set with most boxes is kept, the other is named."""
    built = one(build(records(grit(ALL)), GRIT))
    assert [draft.task for draft in built.drafts] == ["grounding", *["referring", "grounded_caption"] * 2]
    assert phrases(built.drafts[0]) == [("a dog", [[10, 10, 50, 50]]), ("a red ball", [[50, 50, 100, 100]])]
    assert as_sample(built.drafts[0]).text == CAPTION
    assert [lost.reason for lost in built.lost] == ["overlap"]
    assert built.drafts[0].images == (NamedImage("7", 100, 100),)
    assert all(draft.relative for draft in built.drafts)


def test_a_chunk_copied_into_ref_exps_counts_once() -> None:
    """The published files repeat each chunk without expansion; its box is one box."""
    built = one(build(records(grit(DOG, BALL)), GRIT))
    assert phrases(built.drafts[0]) == [("a dog", [[10, 10, 50, 50]]), ("a red ball", [[50, 50, 100, 100]])]
    assert built.lost == ()


def test_greedy_is_an_option() -> None:
    """With three boxes on the long expression the exact choice keeps it, the greedy one does not."""
    entries = [[*ALL[:2], 0.1, 0.1, 0.5, 0.5 + n / 10, 0.8] for n in range(3)]
    assert len(phrases(one(build(records(grit(*entries)), GRIT)).drafts[0])) == 1
    assert len(phrases(one(build(records(grit(*entries)), GREEDY)).drafts[0])) == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (grit([0, 5, 10, 10, 50, 50, 0.9]), "box_pixels"),
        (grit([0, 5, 0.5, 0.1, 0.1, 0.9, 0.9]), "box_order"),
        (grit([0, 99, 0.1, 0.1, 0.5, 0.5, 0.9]), "span_outside"),
        (grit([0.5, 5, 0.1, 0.1, 0.5, 0.5, 0.9]), "span_outside"),
        (grit([5, 6, 0.1, 0.1, 0.5, 0.5, 0.9]), "empty_phrase"),
        (grit([0, 5, 0.1]), "bad_record"),
        (grit([0, 5, 0.1, 0.1, 0.5, 0.5, -1]), "bad_record"),
        (grit([0, 5, 0.1, 0.1, 0.5, 0.5, float("nan")]), "bad_record"),
        (grit(noun_chunks=[], ref_exps=None), "no_regions"),
        (grit(noun_chunks=[[0, 5, 1.2, 0.1, 1.5, 0.5, 0.9]]), "box_outside"),
        (grit(caption=""), "empty_caption"),
        (grit(width=None), "bad_record"),
        (grit(width=0), "image_size"),
        (grit(id=None), "no_image"),
    ],
)
def test_a_bad_record_is_refused_for_what_is_wrong(value: dict[str, Any], expected: str) -> None:
    """Each fault has a reason of its own."""
    assert loss(build(records(value), GRIT)) == expected


entries = st.tuples(st.integers(0, 20), st.integers(1, 8), st.integers(0, 9), st.integers(0, 9))


@settings(deadline=None)
@given(st.lists(entries, min_size=1, max_size=8))
def test_kept_labels_never_overlap_and_words_stay(given_: list[tuple[int, int, int, int]]) -> None:
    """Removing the tags restores the caption, whatever labels there were."""
    rows = [
        [start, min(start + length, 24), x / 20, y / 20, x / 20 + 0.3, y / 20 + 0.3, 0.7]
        for start, length, x, y in given_
    ]
    built = one(build(records(grit(noun_chunks=rows, caption="abcdefghijklmnopqrstuvwx")), GRIT))
    assert as_sample(built.drafts[0]).text == "abcdefghijklmnopqrstuvwx"
    assert len(built.drafts) == 1 + 2 * len(phrases(built.drafts[0]))
