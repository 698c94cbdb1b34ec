import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dialects.coco import Annotated, annotated, from_coco, to_coco
from schemas.markup import MarkupError
from schemas.sample import Image, ImageRef, Phrase, Text, Turn
from tests.schemas.dialects.test_kosmos2 import inner
from tests.schemas.markup.strategies import sample, words

phrases = st.dictionaries(words, st.lists(inner, min_size=1, max_size=3, unique=True), max_size=3).map(
    lambda found: tuple(Phrase(one, tuple(boxes)) for one, boxes in found.items())
)
pictures = st.builds(
    Annotated, words, st.just(640), st.just(480), st.lists(words, max_size=2).map(tuple), phrases
)


@settings(deadline=None)
@given(st.lists(pictures, max_size=3))
def test_the_json_gives_the_pictures_back(given_: list[Annotated]) -> None:
    """Names, sizes, captions and phrases come back; boxes to a hundredth of a pixel or so."""
    record = json.loads(json.dumps(to_coco(given_)))
    read = from_coco(record)
    assert [(one.name, one.width, one.height, one.captions) for one in read] == [
        (one.name, one.width, one.height, one.captions) for one in given_
    ]
    for got, wanted in zip(read, given_, strict=True):
        assert [one.phrase for one in got.phrases] == [one.phrase for one in wanted.phrases]
        for a, b in zip(got.phrases, wanted.phrases, strict=True):
            assert [v for box in a.boxes for v in box] == pytest.approx(
                [v for box in b.boxes for v in box], abs=0.011
            )


def test_samples_of_one_picture_are_annotated_once() -> None:
    """Three task views of one image give one caption and each box once, as x, y, width, height."""
    picture = Image("JPEG", 640, 480, "0" * 64)
    dog = Phrase("dog", ((10, 20, 30, 60),), (), True)
    made = [
        sample((picture,), (Turn("document", (ImageRef(0), Text("A ", True), dog)),), "grounding"),
        sample((picture,), (Turn("document", (ImageRef(0), dog)),), "referring"),
        sample((picture,), (Turn("document", (ImageRef(0), dog)),), "grounded_caption"),
    ]
    record = to_coco([annotated(made, "a.jpg")])
    assert record["annotations"] == [
        {"id": 1, "image_id": 1, "caption": "A dog"},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [10, 20, 20, 40], "area": 800, "iscrowd": 0},
    ]
    assert record["categories"] == [{"id": 1, "name": "dog"}]


@pytest.mark.parametrize("changes", [{"image_id": 7}, {"category_id": 7}])
def test_an_annotation_of_nothing_is_refused(changes: dict[str, int]) -> None:
    """An annotation must be of an image and a category that are there."""
    record = to_coco([Annotated("a", 9, 9, (), (Phrase("x", ((0, 0, 1, 1),)),))])
    record["annotations"][0].update(changes)
    with pytest.raises(MarkupError, match="no image or no category"):
        from_coco(record)


def test_real_instances_come_back(test_data: Path) -> None:
    """COCO's own annotations survive reading and writing, box by box."""
    record = json.loads((test_data / "grounding/coco_instances_subset.json").read_bytes())
    read = from_coco(record)
    assert sum(len(phrase.boxes) for one in read for phrase in one.phrases) == len(record["annotations"])
    again = from_coco(to_coco(read))
    for a, b in zip(read, again, strict=True):
        assert [p.phrase for p in a.phrases] == [p.phrase for p in b.phrases]
