"""Visual Genome, RefCOCO, COCO and Flickr30k Entities."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets import flickr30k
from pipelines.datasets.coco import CAPTIONS, INSTANCES
from pipelines.datasets.dataset import Built, build
from pipelines.datasets.drafts import NamedImage
from pipelines.datasets.records import FileError
from pipelines.datasets.refcoco import REFCOCO
from pipelines.datasets.visual_genome import REGIONS
from schemas.errors import ShardError
from tests.pipelines.datasets.common import as_sample, loss, one, phrases, read, reason

IMAGE = {"image_id": 2, "width": 640, "height": 480, "url": "https://cs.stanford.edu/VG_100K_2/2.jpg"}
REGION = {
    "region_id": 5,
    "image_id": 2,
    "phrase": " a red ball ",
    "x": 10,
    "y": 20,
    "width": 30,
    "height": 40,
}


def regions(*given: Any, data: tuple[Any, ...] = (IMAGE,)) -> Any:
    return read(REGIONS, regions=[{"id": 2, "regions": list(given)}], images=data)


def test_a_region_gives_both_views() -> None:
    """Visual Genome's region becomes phrase to box and box to phrase, named by its id."""
    built = one(regions(REGION))
    assert built.member == "5"
    assert [draft.task for draft in built.drafts] == ["referring", "grounded_caption"]
    assert phrases(built.drafts[0]) == [("a red ball", [[10, 20, 40, 60]])]
    assert built.drafts[0].images == (
        NamedImage("VG_100K_2/2.jpg", 640, 480, "https://cs.stanford.edu/VG_100K_2/2.jpg"),
    )
    assert one(regions(REGION | {"x": 630})).drafts[0].turns[0].segments[1].boxes == ((630, 20, 640, 60),)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_id": 3}, "unknown_image"),
        ({"phrase": " "}, "empty_phrase"),
        ({"x": 700}, "box_outside"),
        ({"width": 0}, "box_degenerate"),
        ({"width": -3}, "box_order"),
        ({"x": None}, "box_numbers"),
    ],
)
def test_a_bad_region_is_refused(changes: dict[str, Any], expected: str) -> None:
    """A region of no picture, without words or without extent has its reason."""
    assert reason(regions(REGION | changes)) == expected


def test_every_region_has_an_outcome() -> None:
    """Pictures and regions of the wrong kind, and repeated ids, are outcomes too."""
    pictures: list[Any] = [7, {"id": 2}, {"id": 2, "regions": [REGION, REGION, "x"]}]
    built = read(REGIONS, regions=pictures, images=[IMAGE])
    assert [(b.member, b.refusal and b.refusal.reason) for b in built] == [
        ("picture-0", "bad_record"),
        ("picture-1", "bad_record"),
        ("5", None),
        ("5~2", "repeated_id"),
        ("picture-2-2", "bad_record"),
    ]


def test_boxes_of_a_file_that_is_cut_are_counted() -> None:
    """Nobody knows how many objects of a name an image has: each image, and each object before the cut, is refused."""
    data = json.dumps(
        {
            "images": [{"id": at, "file_name": f"{at}.jpg", "width": 640, "height": 480} for at in range(3)],
            "annotations": [
                {"id": at, "image_id": at % 2, "category_id": 1, "bbox": [1, 2, 30, 40]} for at in range(4)
            ],
            "categories": [{"id": 1, "name": "dog"}],
        }
    ).encode()
    assert INSTANCES.records is not None
    records, built = (
        INSTANCES.records({"records": io.BytesIO(data[: data.index(b'{"id": 3')])}),
        list[Built](),
    )
    with pytest.raises(FileError, match="is not JSON"):
        built.extend(build(records, INSTANCES))
    assert [(b.member, b.refusal and b.refusal.reason) for b in built] == [
        (str(at), "damaged_file") for at in range(3)
    ]
    assert [[(a.id, a.refusal and a.refusal.reason) for a in b.annotations] for b in built] == [
        [("0", "damaged_file"), ("2", "damaged_file")],
        [("1", "damaged_file")],
        [],
    ]


def test_an_id_of_the_wrong_kind_is_an_outcome() -> None:
    """A list where an id should be joins nothing, and stops nothing."""
    assert reason(regions(REGION | {"image_id": [2]})) == "unknown_image"
    images = [{"id": [2], "file_name": "2.jpg", "width": 9, "height": 9}]
    (image, stray) = read(
        INSTANCES, records={"images": images, "annotations": [{"id": 1, "image_id": [2]}], "categories": []}
    )
    assert image.refusal is not None and image.refusal.reason == "no_regions"  # noqa: PT018
    assert stray.refusal is not None and stray.refusal.reason == "unknown_image"  # noqa: PT018


REF = {
    "ref_id": 1,
    "ann_id": 9,
    "image_id": 2,
    "split": "testA",
    "sentences": [{"sent": "left dog", "raw": "Left dog"}, {"sent": " "}, {"sent": "the dog"}],
}
COCO: dict[str, Any] = {
    "images": [{"id": 2, "file_name": "COCO_train2014_000000000002.jpg", "width": 640, "height": 480}],
    "annotations": [{"id": 9, "image_id": 2, "category_id": 1, "bbox": [10, 20, 30, 40], "iscrowd": 0}],
    "categories": [{"id": 1, "name": "dog"}],
}


def refs(ref: Any, instances: Any = COCO) -> Any:
    return read(REFCOCO, refs=pickle.dumps([ref], 2), instances=instances)


def test_an_object_gives_both_views_of_each_expression() -> None:
    """RefCOCO's expressions are joined with the box and the picture; an empty one is lost alone."""
    built = one(refs(REF))
    assert built.member == "1"
    assert [draft.task for draft in built.drafts] == ["referring", "grounded_caption"] * 2
    assert phrases(built.drafts[2]) == [("the dog", [[10, 20, 40, 60]])]
    assert built.drafts[0].split == "testA"
    assert built.drafts[0].images[0].name == "COCO_train2014_000000000002.jpg"
    assert [lost.reason for lost in built.lost] == ["empty_phrase"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_id": 3}, "unknown_image"),
        ({"ann_id": 3}, "unknown_annotation"),
        ({"ann_id": [3]}, "unknown_annotation"),
        ({"sentences": []}, "empty_phrase"),
        ({"sentences": None}, "bad_record"),
    ],
)
def test_a_bad_object_is_refused(changes: dict[str, Any], expected: str) -> None:
    """An object that nothing can be joined with has its reason."""
    assert reason(refs(REF | changes)) == expected


def test_files_that_are_something_else_are_a_sentence() -> None:
    """A pickle of no list, or instances without images, names the file."""
    with pytest.raises(ShardError, match="has no list at the top"):
        read(REFCOCO, refs=pickle.dumps({"a": 1}, 2), instances=COCO)
    with pytest.raises(ShardError, match="has no list at images"):
        refs(REF, {})


def test_a_caption_is_joined_with_its_picture() -> None:
    """COCO's captions are rows of their own; one of no picture is refused."""
    notes = [{"id": 1, "image_id": 2, "caption": "A dog.\n"}, {"id": 2, "image_id": 5, "caption": "x"}]
    data = {"images": COCO["images"], "annotations": [*notes, {"id": 3, "image_id": 2, "caption": " "}]}
    built = read(CAPTIONS, records=data)
    assert [(b.member, b.refusal and b.refusal.reason) for b in built] == [
        ("1", None),
        ("2", "unknown_image"),
        ("3", "empty_caption"),
    ]
    assert as_sample(built[0].drafts[0]).text == "A dog."


def test_instances_are_phrases_of_their_category() -> None:
    """All boxes of a category stand for its name; a crowd takes its category along."""
    objects = [
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [10, 20, 30, 40], "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [50, 20, 30, 40], "iscrowd": 0},
        {"id": 3, "image_id": 2, "category_id": 2, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        {"id": 4, "image_id": 2, "category_id": 9, "bbox": [1, 2, 3, 4], "iscrowd": 0},
        {"id": 5, "image_id": 8, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0},
    ]
    names = [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}]
    images = [*COCO["images"], {"id": 3, "file_name": "3.jpg", "width": 9, "height": 9}]
    data = {"images": images, "annotations": objects, "categories": names}
    first, empty, stray = read(INSTANCES, records=data)
    assert phrases(first.drafts[0]) == [("dog", [[10, 20, 40, 60], [50, 20, 80, 60]])]
    assert [lost.reason for lost in first.lost] == ["crowd", "unknown_annotation"]
    assert (empty.member, empty.refusal and empty.refusal.reason) == ("3", "no_regions")
    assert (stray.member, stray.refusal and stray.refusal.reason) == ("annotation-5", "unknown_image")


def test_real_coco_files_lose_no_row(test_data: Path) -> None:
    """Captions and instances of real files: one outcome a row, all of them built."""
    captions = json.loads((test_data / "grounding/coco_captions_subset.json").read_bytes())
    built = read(CAPTIONS, records=captions)
    assert len(built) == len(captions["annotations"])
    assert all(one.drafts for one in built)
    instances = json.loads((test_data / "grounding/coco_instances_subset.json").read_bytes())
    outcomes = read(INSTANCES, records=instances)
    assert len(outcomes) == len(instances["images"])
    boxes = sum(len(found) for b in outcomes for d in b.drafts[::2] for _, found in phrases(d))
    assert boxes + sum(len(b.lost) for b in outcomes) == len(instances["annotations"])


SENTENCE = (
    "[/EN#1/people Two young guys] with [/EN#2/bodyparts/other shaggy hair] look at [/EN#0/notvisual it] ."
)
XML = """<annotation><filename>36979.jpg</filename><size><width>500</width><height>375</height></size>
<object><name>1</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>1</name><name>2</name><bndbox><xmin>50</xmin><ymin>20</ymin><xmax>90</xmax><ymax>40</ymax></bndbox>
</object><object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object></annotation>"""


def flickr(sentence: str = SENTENCE, xml: str | None = XML) -> Any:
    data = None if xml is None else xml.encode()
    return build(flickr30k.records("36979", sentence, data), flickr30k.FLICKR30K)


def test_flickr30k_phrases_get_the_boxes_of_their_number() -> None:
    """Brackets become phrases, numbers join them with boxes, and the words stay."""
    built = one(flickr())
    assert built.member == "36979#0"
    assert as_sample(built.drafts[0]).text == "Two young guys with shaggy hair look at it ."
    assert phrases(built.drafts[0]) == [
        ("Two young guys", [[10, 20, 30, 40], [50, 20, 90, 40]]),
        ("shaggy hair", [[50, 20, 90, 40]]),
    ]
    assert built.drafts[0].images == (NamedImage("36979.jpg", 500, 375),)
    assert len(list(flickr(f"{SENTENCE}\n\n{SENTENCE}\n"))) == 2


@pytest.mark.parametrize(
    ("sentence", "xml", "expected"),
    [
        ("nobody here .", XML, "no_regions"),
        ("[/EN#1/people Two young guys with hair .", XML, "bad_record"),
        (SENTENCE, "<annotation>", "bad_record"),
        (SENTENCE, "<!DOCTYPE a [<!ENTITY b 'c'>]>" + XML, "bad_record"),
        (SENTENCE, XML.replace("<width>500", "<width>x"), "image_size"),
        (SENTENCE, XML.replace("<xmin>10", "<xmin>"), "box_numbers"),
        (SENTENCE, XML.replace("<filename>36979.jpg", "<filename>"), "no_image"),
        (SENTENCE, None, "unknown_annotation"),
    ],
)
def test_a_bad_sentence_or_annotation_is_refused(sentence: str, xml: str | None, expected: str) -> None:
    """Broken brackets, broken XML and a missing file have their reasons; a document type is never read."""
    assert loss(flickr(sentence, xml)) == expected
