from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets import dataset
from pipelines.datasets.drafts import NamedImage
from pipelines.datasets.records import jsonl
from pipelines.datasets.tuples import GROUNDING
from schemas.markup import canonical, parse, render
from schemas.sample import Phrase
from tests.pipelines.datasets.common import BOX, as_sample, loss, one, phrases, reason, records, segments

build = partial(dataset.build, dataset=GROUNDING)

CAPTION = "A dog and a red ball"


def tuple_of(*labels: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "image": "a.jpg",
        "width": 640,
        "height": 480,
        "caption": CAPTION,
        "phrases": list(labels),
    } | changes


def label(
    text: str = "A dog", start: int | None = 0, end: int | None = 5, boxes: Any = (BOX,)
) -> dict[str, Any]:
    found: dict[str, Any] = {"text": text, "boxes": list(boxes)}
    return found if start is None else found | {"start": start, "end": end}


def test_one_record_feeds_three_tasks() -> None:
    """A caption with two phrases gives the grounded caption and both views of each phrase."""
    built = one(
        build(records(tuple_of(label(), label("a red ball", 10, 20, [BOX, [1, 2, 3, 4]]), lang="en")))
    )
    tasks = ["grounding", *["referring", "grounded_caption"] * 2]
    assert [draft.task for draft in built.drafts] == tasks
    assert as_sample(built.drafts[0]).text == CAPTION
    assert phrases(built.drafts[0]) == [("A dog", [BOX]), ("a red ball", [BOX, [1, 2, 3, 4]])]
    assert phrases(built.drafts[3]) == phrases(built.drafts[4]) == [("a red ball", [BOX, [1, 2, 3, 4]])]
    assert built.drafts[0].images == (NamedImage("a.jpg", 640, 480),)
    for draft in built.drafts:
        as_sample(draft)


def test_real_tuples_lose_no_row(test_data: Path) -> None:
    """COCO's and Visual Genome's tuples: all rows built into all tasks, boxes inside, words kept."""
    lines = (test_data / "grounding/grounding.jsonl").read_bytes().splitlines()
    built = list(build(jsonl(lines)))
    assert [one.member for one in built] == [str(number) for number in range(len(lines))]
    assert len(built) > 400
    for (_, value, _), made in zip(jsonl(lines), built, strict=True):
        assert made.refusal is None
        tasks = Counter(draft.task for draft in made.drafts)
        assert tasks["grounding"] == 1
        assert tasks["referring"] == tasks["grounded_caption"] == len(value["phrases"])
        assert as_sample(made.drafts[0]).text == value["caption"]
        for draft in made.drafts:
            sample = as_sample(draft)
            text = render(sample)
            size = [(value["width"], value["height"])]
            assert parse(text.text, size, loss=text.loss, task=text.task).turns == canonical(sample)
            assert parse(text.text, size).turns == canonical(sample)
            for segment in segments(draft):
                for x1, y1, x2, y2 in segment.boxes if isinstance(segment, Phrase) else ():
                    assert 0 <= x1 < x2 <= value["width"]
                    assert 0 <= y1 < y2 <= value["height"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (tuple_of(label(boxes=[[300, 200, 100, 100]])), "box_xywh"),
        (tuple_of(label(boxes=[BOX, [600, 400, 100, 100]])), "box_order"),
        (tuple_of(label(boxes=[[0.1, 0.1, 0.5, 0.5]])), "box_normalised"),
        (tuple_of(label(boxes=[[700, 10, 800, 20]])), "box_outside"),
        (tuple_of(label(boxes=[[10, 10, 10, 20]])), "box_degenerate"),
        (tuple_of(label(boxes=["here"])), "box_numbers"),
        (tuple_of(label(boxes=[])), "no_regions"),
        (tuple_of(), "no_regions"),
        (tuple_of(label("A dog", 0, 6)), "span_mismatch"),
        (tuple_of(label("A dog", 16, 25)), "span_outside"),
        (tuple_of(label("A dog", 5, 0)), "span_outside"),
        (tuple_of(label("A dog", -20, -15)), "span_outside"),
        (tuple_of(label(" ", 5, 6)), "empty_phrase"),
        (tuple_of(label(), caption="  "), "empty_caption"),
        (tuple_of(label(), caption=None), "empty_caption"),
        (tuple_of(label(), caption=7), "bad_record"),
        (tuple_of(label(), caption="\ud83d dog"), "bad_record"),
        (tuple_of(label(), width=0), "image_size"),
        (tuple_of(label(), height="480"), "image_size"),
        (tuple_of(label(), image=None), "no_image"),
        ({"image": "a.jpg", "width": 640, "height": 480}, "bad_record"),
        (tuple_of(3), "bad_record"),  # type: ignore[arg-type]
        (tuple_of(label("A dog", 0, "5")), "bad_record"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_tuple_is_refused_for_what_is_wrong(value: dict[str, Any], expected: str) -> None:
    """Each fault of a record has a reason of its own."""
    assert loss(build(records(value))) == expected


def test_misplaced_offsets_say_which_phrase_and_what_would_fit() -> None:
    """Offsets that count bytes or UTF-16 units are recognised."""
    dog = tuple_of(label("dog", 5, 8), caption="一只dog")
    assert (
        one(build(records(dog))).refusal
        == (
            "span_mismatch",
            "phrase 0 'dog' is given as 5-8, where the caption has ''; as bytes of UTF-8 they would fit",
        )
        or reason(build(records(dog))) == "span_outside"
    )
    emoji = tuple_of(label("dog", 2, 5), caption="\U0001f600dog!")
    refusal = one(build(records(emoji))).refusal
    assert refusal is not None
    assert "phrase 0 'dog' is given as 2-5" in refusal.text
    assert "UTF-16" in refusal.text


def test_a_box_without_use_is_lost_alone() -> None:
    """A box outside takes its phrase along only where it was the last, and is named."""
    ball = label("a red ball", 10, 20, [[700, 0, 800, 9]])
    built = one(build(records(tuple_of(label(boxes=[BOX, [9, 9, 9, 9]]), ball))))
    assert [lost.reason for lost in built.lost] == ["box_degenerate", "box_outside"]
    assert phrases(built.drafts[0]) == [("A dog", [BOX])]


def test_overlapping_phrases_leave_the_caption_but_stay_phrases() -> None:
    """The caption keeps the labels with most boxes; the others still give both views."""
    built = one(build(records(tuple_of(label(), label(CAPTION, 0, 20), label("a red ball", 10, 20)))))
    assert [text for text, _ in phrases(built.drafts[0])] == ["A dog", "a red ball"]
    assert [lost.reason for lost in built.lost] == ["overlap"]
    assert len(built.drafts) == 7


def test_words_without_offsets_are_looked_for_as_whole_words() -> None:
    """A phrase without offsets stands where the caption has it as words of its own, or nowhere."""
    value = tuple_of(label("eye", None), label("ear", None), caption="An eyebrow and an eye")
    built = one(build(records(value)))
    assert phrases(built.drafts[0]) == [("eye", [BOX])]
    assert as_sample(built.drafts[0]).text == "An eyebrow and an eye"
    assert [lost.reason for lost in built.lost] == ["span_missing"]
    assert len(built.drafts) == 5


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["image", "width", "height", "caption", "phrases"]), values)))
def test_any_json_has_one_outcome(given_: list[dict[str, Any]]) -> None:
    """Records of any shape are refused or built, one outcome each, in order."""
    built = list(build(records(*given_)))
    assert [one.member for one in built] == [str(number) for number in range(len(given_))]
    assert all(one.refusal or one.drafts for one in built)
