"""COCO: captions_*.json and instances_*.json."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.boxes import from_size, size_of
from pipelines.datasets.built import Built, Draft, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import boxes_of, caption_draft, named, region_drafts, words
from pipelines.datasets.reasons import MALFORMED, Refusal, Refused
from pipelines.datasets.records import by_id, each, listed
from schemas.sample import Phrase


def caption_records(data: object, where: str = "captions.json") -> Iterator[Record]:
    """One record a caption, named by its annotation's id, joined with its picture."""
    images = by_id(listed(data, where, "images"))
    for record in each(listed(data, where, "annotations"), "id"):
        image_id = record.value.get("image_id")
        image = images.get(image_id) if isinstance(image_id, int | str) else None
        yield record._replace(value={"annotation": record.value, "image": image})


def instance_records(data: object, where: str = "instances.json") -> Iterator[Record]:
    """One record a picture, named by its id, with its annotations; one for each annotation of no picture."""
    names = {key: one.get("name") for key, one in by_id(listed(data, where, "categories")).items()}
    images = listed(data, where, "images")
    objects: dict[Any, list[Any]] = {key: [] for key in by_id(images)}
    strays = []
    for record in each(listed(data, where, "annotations"), "id"):
        image_id = record.value.get("image_id")
        known = isinstance(image_id, int | str) and image_id in objects
        if known:
            objects[image_id].append(record.value)
        else:
            refusal = Refusal("unknown_image", f"annotation {record.member} is of picture {image_id!r}")
            strays.append(Record(f"annotation-{record.member}", {}, record.refusal or refusal))
    for record in each(images, "id"):
        own = objects.get(record.value.get("id"), [])
        shown = {one.get("category_id") for one in own if isinstance(one.get("category_id"), int | str)}
        named_ones = {key: names[key] for key in sorted(shown & names.keys(), key=repr)}
        yield record._replace(value={"image": record.value, "objects": own, "names": named_ones})
    yield from strays


def build_captions(records: Iterable[Record], language: str = "en") -> Iterator[Built]:
    """For each caption a sample of task caption."""

    def make(value: Mapping[str, Any]) -> Made:
        image, annotation = value["image"], value["annotation"]
        if image is None:
            raise Refused("unknown_image", f"no picture has the id {annotation.get('image_id')!r}")
        return [caption_draft(_picture(image), annotation["caption"], language)], []

    return outcomes(records, make)


def build_instances(records: Iterable[Record]) -> Iterator[Built]:
    """For each picture both views of each category: its name and the boxes of all its objects."""
    return outcomes(records, _instances)


def _instances(value: Mapping[str, Any]) -> Made:
    picture = _picture(value["image"])
    lost: list[Refusal] = []
    crowded = {one.get("category_id") for one in value["objects"] if one.get("iscrowd")}
    found: dict[str, list[Any]] = {}
    for one in value["objects"]:
        # the name stands for all objects of its category, which a crowd would leave uncounted
        if one.get("category_id") in crowded:
            lost.append(Refusal("crowd", f"annotation {one.get('id')!r} is of a category with a crowd here"))
            continue
        name = value["names"].get(one["category_id"])
        if name is None:
            lost.append(Refusal("unknown_annotation", f"no category has the id {one['category_id']!r}"))
            continue
        found.setdefault(words(name, "empty_phrase"), []).append(one["bbox"])
    drafts: list[Draft] = []
    for name, given in found.items():
        boxes = _boxes(name, given, picture, lost)
        if boxes:
            drafts += region_drafts(picture, Phrase(name, boxes, (), True))
    if not drafts and not lost:
        raise Refused("no_regions", "the picture has no annotation")
    return drafts, lost


def _boxes(name: str, given: list[Any], picture: Picture, lost: list[Refusal]) -> tuple[Any, ...]:
    try:
        return boxes_of(given, picture, from_size, lost)
    except Refused as error:
        if error.refusal.reason not in MALFORMED:
            raise
        raise Refused(error.refusal.reason, f"{name}: {error.refusal.text}") from error


def _picture(image: Mapping[str, Any]) -> Picture:
    return Picture(named(image.get("file_name")), *size_of(image.get("width"), image.get("height")))
