"""COCO: captions_*.json and instances_*.json."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from pipelines.datasets.boxes import boxes_of, from_size, size_of
from pipelines.datasets.dataset import BAD, Dataset, Files, Glimpse, Made, Record, bad_record
from pipelines.datasets.drafts import (
    REGION_TASKS,
    About,
    Draft,
    NamedImage,
    caption_draft,
    extra_of,
    named,
    region_drafts,
    teaching,
    text_or_none,
    with_about,
    words,
)
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import Document, by_id, document, each, joined, listed
from schemas.sample import Phrase


def _caption_records(files: Files) -> Iterator[Record]:
    """Returns one record a caption, named by its annotation's id, joined with its image."""
    with document(files) as found:
        data = found.value
        images = by_id(listed(data, "records", "images"))
        _check_licences(found, images.values())
        licences = licences_of(data)
        for record in each(listed(data, "records", "annotations"), "id"):
            image = joined(images, record.value.get("image_id"))
            licence = licence_of(image, licences) if image else None
            yield record._replace(value={"annotation": record.value, "image": image, "licence": licence})


_OBJECTS: Final = ("annotations", "categories")
_CUT: Final = Refusal("damaged_file", "the file breaks off before it names all objects of its images")


def _instance_records(files: Files) -> Iterator[Record]:
    """Returns one record an image, named by its id, with its annotations; one for each annotation of no image.

    Where the file is cut before its annotations end, nobody knows all objects of an image: each is refused.
    """
    with document(files) as found:
        data = found.value
        _check_licences(found, by_id(listed(data, "records", "images")).values())
        if found.damage is None or not isinstance(data, dict) or {*_OBJECTS} <= data.keys() - {found.cut}:
            yield from _with_objects(data)
        else:
            none: dict[str, Any] = {name: [] for name in _OBJECTS}
            for record in _with_objects(none | data):
                yield record._replace(refusal=record.refusal or _CUT)


def _check_licences(found: Document, images: Iterable[Mapping[str, Any]]) -> None:
    """Raises FileError where a file is cut before the licences that its images have."""
    if found.damage is not None and any("license" in image for image in images):
        listed(found.value, "records", "licenses")


def _with_objects(data: Any) -> Iterator[Record]:
    where = "records"
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
            stray: dict[str, Any] = {"objects": [record.value]} if record.value else {}
            strays.append(Record(f"annotation-{record.member}", stray, record.refusal or refusal))
    for record in each(images, "id"):
        # of images that share an id the first has its annotations
        own = joined(objects, record.value.get("id")) or []
        if own:
            objects[record.value["id"]] = []
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
    return with_about([caption_draft(coco_image(image), annotation["caption"])], about), []


def _instances(value: Mapping[str, Any]) -> Made:
    """Returns both views of each category: its name and the boxes of all its objects."""
    image = coco_image(value["image"])
    lost: list[Refusal] = []
    drafts: list[Draft] = []
    for name, found in _by_name(value, lost).items():
        boxes = boxes_of([(at, one.get("bbox")) for at, one in found], image, from_size, lost)
        if boxes:
            taught = [at for places in boxes.values() for at in places]
            ids = [id_ for at, id_ in enumerate(_object_ids(value)) if at in taught]
            views = region_drafts(image, Phrase(name, tuple(boxes), (), True))
            about = About(licence=value.get("licence"), extra={"annotation_ids": ids})
            drafts += with_about(teaching(views, taught), about)
    if not drafts and not lost:
        raise Refused("no_regions", "the image has no annotation")
    return drafts, lost


def _by_name(value: Mapping[str, Any], lost: list[Refusal]) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
    """Returns the objects with their places, by the name of their category; those without one go to `lost`."""
    objects = value["objects"]
    crowded = {_category(one) for one in objects if one.get("iscrowd")}
    found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for at, one in enumerate(objects):
        try:
            if one.get("iscrowd"):
                raise Refused("crowd", "the annotation is of a crowd")
            # the name stands for all objects of its category, which a crowd would leave uncounted
            if _category(one) in crowded:
                raise Refused("crowd", "the annotation is of a category with a crowd in this image")
            name = value["names"].get(_category(one))
            if name is None:
                raise Refused("unknown_annotation", f"no category has the id {one.get('category_id')!r}")
            found.setdefault(words(name, "empty_phrase"), []).append((at, one))
        except Refused as error:
            lost.append(error.refusal._replace(at=at))
        except BAD as error:
            lost.append(bad_record(error)._replace(at=at))
    return found


def _category(one: Mapping[str, Any]) -> int | str | None:
    found = one.get("category_id")
    return found if isinstance(found, int | str) else None


def _object_ids(value: Mapping[str, Any]) -> list[str]:
    """Returns the id of each object, its place in its image where it has none."""
    return [text_or_none(one.get("id")) or f"object-{at}" for at, one in enumerate(value["objects"])]


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


def _fits_coco(seen: Glimpse, boxes: bool) -> float:
    """Returns how well a file fits COCO's JSON, with boxes or with captions; less where its parts stand alone."""
    has_boxes = bool(seen.fields & {"bbox", "supercategory"})
    if has_boxes != boxes or not (boxes or "caption" in seen.fields):
        return 0.0
    parts = seen.fields & ({"categories", "category_id", "supercategory"} if boxes else {"image_id"})
    if seen.form in ("object", "") and len(parts | seen.fields & {"images", "annotations"}) > 1:
        return 3.0
    return 0.9 if seen.fields >= {"image_id", "bbox" if boxes else "caption"} else 0.0


CAPTIONS: Final = Dataset(
    "captions_*.json",
    "a caption",
    ("caption",),
    _caption,
    _caption_records,
    named=True,
    recognised=partial(_fits_coco, boxes=False),
)
INSTANCES: Final = Dataset(
    "instances_*.json",
    "an image",
    REGION_TASKS,
    _instances,
    _instance_records,
    named=True,
    listed=_object_ids,
    kind="object",
    recognised=partial(_fits_coco, boxes=True),
)
