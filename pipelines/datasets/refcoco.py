"""RefCOCO, RefCOCO+ and RefCOCOg: refs(*).p, a pickle of expressions, and instances.json as of COCO.

Their pictures are COCO's train2014: those of val and test must not be trained on elsewhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.boxes import from_size, size_of
from pipelines.datasets.built import Built, Draft, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import boxes_of, label, named, region_drafts, words
from pipelines.datasets.plain_pickle import load as load_pickle
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import by_id, each, listed, load
from schemas.sample import Phrase


def records(refs: bytes, instances: bytes, where: str = "refs") -> Iterator[Record]:
    """One record an expression's object, named by its ref_id, joined with annotation and picture.

    ShardError where a file is not what it should be; a pickle with anything but plain containers is.
    """
    data = load(instances, f"{where}: instances.json")
    images = by_id(listed(data, where, "images"))
    annotations = by_id(listed(data, where, "annotations"))
    for record in each(listed(load_pickle(refs, where), where), "ref_id"):
        ref = record.value
        joined = {
            "ref": ref,
            "annotation": annotations.get(_hashable(ref.get("ann_id"))),
            "image": images.get(_hashable(ref.get("image_id"))),
        }
        yield Record(record.member, joined, record.refusal)


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each object both views of each of its expressions."""
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    ref, annotation, image = value["ref"], value["annotation"], value["image"]
    if image is None:
        raise Refused("unknown_image", f"instances.json has no image {ref['image_id']!r}")
    if annotation is None:
        raise Refused("unknown_annotation", f"instances.json has no annotation {ref['ann_id']!r}")
    picture = Picture(named(image.get("file_name")), *size_of(image.get("width"), image.get("height")))
    lost: list[Refusal] = []
    boxes = boxes_of([annotation["bbox"]], picture, from_size, lost)
    drafts: list[Draft] = []
    for sentence in ref["sentences"] if boxes else ():
        try:
            text = words(sentence.get("sent", sentence.get("raw")), "empty_phrase")
        except Refused as error:
            lost.append(error.refusal)
            continue
        drafts += region_drafts(picture, Phrase(text, boxes, (), True), split=label(ref.get("split")))
    if not drafts and not lost:
        raise Refused("empty_phrase", "the object has no expression")
    return drafts, lost


def _hashable(value: object) -> int | str | None:
    return value if isinstance(value, int | str) else None
