"""COCO: captions_*.json and instances_*.json."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipelines.datasets.boxes import boxes_of, from_size, size_of
from pipelines.datasets.dataset import Dataset, Files, Glimpse, Made, Record
from pipelines.datasets.drafts import (
    REGION_TASKS,
    About,
    Draft,
    NamedImage,
    caption_draft,
    extra_of,
    named,
    region_drafts,
    text_or_none,
    told,
    words,
)
from pipelines.datasets.reasons import MALFORMED, Refusal, Refused
from pipelines.datasets.records import by_id, document, each, joined, listed
from schemas.sample import Phrase


def _caption_records(files: Files) -> Iterator[Record]:
    """Returns one record a caption, named by its annotation's id, joined with its image."""
    data = document(files)
    images = by_id(listed(data, "captions.json", "images"))
    licences = licences_of(data)
    for record in each(listed(data, "captions.json", "annotations"), "id"):
        image = joined(images, record.value.get("image_id"))
        licence = licence_of(image, licences) if image else None
        yield record._replace(value={"annotation": record.value, "image": image, "licence": licence})


def _instance_records(files: Files) -> Iterator[Record]:
    """Returns one record an image, named by its id, with its annotations; one for each annotation of no image."""
    data, where = document(files), "instances.json"
    names = {key: one.get("name") for key, one in by_id(listed(data, where, "categories")).items()}
    images, licences = listed(data, where, "images"), licences_of(data)
    objects: dict[Any, list[Any]] = {key: [] for key in by_id(images)}
    strays = []
    for record in each(listed(data, where, "annotations"), "id"):
        image_id = record.value.get("image_id")
        own = joined(objects, image_id)
        if own is not None:
            own.append(record.value)
        else:
            refusal = Refusal("unknown_image", f"annotation {record.member} is of image {image_id!r}")
            strays.append(Record(f"annotation-{record.member}", {}, record.refusal or refusal))
    for record in each(images, "id"):
        own = joined(objects, record.value.get("id")) or []
        ids = [key for one in own if isinstance(key := one.get("category_id"), int | str)]
        shown = {key: names[key] for key in ids if key in names}
        licence = licence_of(record.value, licences)
        value = {"image": record.value, "objects": own, "names": shown, "licence": licence}
        yield record._replace(value=value)
    yield from strays


def _caption(value: Mapping[str, Any]) -> Made:
    image, annotation = value["image"], value["annotation"]
    if image is None:
        raise Refused("unknown_image", f"no image has the id {annotation.get('image_id')!r}")
    about = About(licence=value.get("licence"), extra=extra_of(image_id=image.get("id")))
    return told([caption_draft(coco_image(image), annotation["caption"])], about), []


def _instances(value: Mapping[str, Any]) -> Made:
    """Returns both views of each category: its name and the boxes of all its objects."""
    image = coco_image(value["image"])
    lost: list[Refusal] = []
    crowded = {one.get("category_id") for one in value["objects"] if one.get("iscrowd")}
    found: dict[str, list[Any]] = {}
    ids: dict[str, list[Any]] = {}
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
        ids.setdefault(words(name, "empty_phrase"), []).append(text_or_none(one.get("id")))
    drafts: list[Draft] = []
    for name, given in found.items():
        boxes = _boxes(name, given, image, lost)
        if boxes:
            about = About(licence=value.get("licence"), extra={"annotation_ids": ids[name]})
            drafts += told(region_drafts(image, Phrase(name, boxes, (), True)), about)
    if not drafts and not lost:
        raise Refused("no_regions", "the image has no annotation")
    return drafts, lost


def _boxes(name: str, given: list[Any], image: NamedImage, lost: list[Refusal]) -> tuple[Any, ...]:
    try:
        return boxes_of(given, image, from_size, lost)
    except Refused as error:
        if error.refusal.reason not in MALFORMED:
            raise
        raise Refused(error.refusal.reason, f"{name}: {error.refusal.text}") from error


def coco_image(image: Mapping[str, Any]) -> NamedImage:
    """Returns the image that an entry of COCO's `images` describes."""
    url = text_or_none(image.get("flickr_url")) or text_or_none(image.get("coco_url"))
    return NamedImage(named(image.get("file_name")), *size_of(image.get("width"), image.get("height")), url)


def licence_of(image: Mapping[str, Any], licences: Mapping[Any, str | None]) -> str | None:
    """Returns an image's licence: the name behind its `license`, else the words of its `licence`."""
    return joined(licences, image.get("license")) or text_or_none(image.get("licence"))


def licences_of(data: Any) -> dict[Any, str | None]:
    """Returns the names of the licences of a COCO file by their ids."""
    listed_ = data.get("licenses") if isinstance(data, Mapping) else None
    known = by_id(listed_ if isinstance(listed_, list) else [])
    return {key: text_or_none(one.get("name")) for key, one in known.items()}


def _is_coco(seen: Glimpse) -> bool:
    ends = seen.start + seen.end
    return not seen.start.startswith(b"[") and (b'"images"' in ends or b'"annotations"' in ends)


def _has_boxes(seen: Glimpse) -> bool:
    ends = seen.start + seen.end
    return b'"bbox"' in ends or b'"supercategory"' in ends


CAPTIONS: Final = Dataset(
    "captions_*.json",
    "a caption",
    ("caption",),
    _caption,
    _caption_records,
    named=True,
    recognised=lambda seen: _is_coco(seen) and not _has_boxes(seen) and b'"caption"' in seen.start + seen.end,
)
INSTANCES: Final = Dataset(
    "instances_*.json",
    "an image",
    REGION_TASKS,
    _instances,
    _instance_records,
    named=True,
    recognised=lambda seen: _is_coco(seen) and _has_boxes(seen),
)
