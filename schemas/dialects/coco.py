"""COCO's JSON: images, annotations with bbox [x, y, width, height] in pixels, categories.

A phrase's words become a category, each of its boxes an annotation; a caption becomes an annotation with
`caption`. Lacks: where in a caption a phrase stands, quads, dialogues.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.dialects.dialogue import CannotSay
from schemas.markup.reader import MarkupError
from schemas.sample import Box, Example, Phrase, words_of


@dataclass(frozen=True, slots=True)
class Annotated:
    """What COCO's JSON says of one image: its name, size, captions, and phrases with their boxes."""

    name: str
    width: int
    height: int
    captions: tuple[str, ...]
    phrases: tuple[Phrase, ...]


def annotated(samples: Iterable[Example], name: str) -> Annotated:
    """Returns what samples of one image say of it; captions and boxes that several of them repeat count once."""
    captions: dict[str, None] = {}
    boxes: dict[str, dict[Box, None]] = {}
    size = (0, 0)
    for example in samples:
        if len(example.images) != 1:
            raise CannotSay("images", "a COCO annotation is of one image")
        size = (example.images[0].width, example.images[0].height)
        if example.task in ("caption", "grounding"):
            captions[words_of(example.segments)] = None
        for one in example.phrases:
            if one.boxes:
                boxes.setdefault(one.phrase, {}).update(dict.fromkeys(one.boxes))
    phrases = tuple(Phrase(words, tuple(found)) for words, found in boxes.items())
    return Annotated(name, *size, tuple(captions), phrases)


def to_coco(described: Iterable[Annotated]) -> dict[str, list[dict[str, Any]]]:
    """Returns the JSON of annotated images; ids count from 1, categories in order of first appearance."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for number, one in enumerate(described, 1):
        images.append(image_row(one, number))
        annotations += caption_rows(one, number, len(annotations) + 1)
        annotations += box_rows(one, number, len(annotations) + 1, categories)
    return {"images": images, "annotations": annotations, "categories": category_rows(categories)}


def image_row(described: Annotated, number: int) -> dict[str, Any]:
    """Returns the entry of the image whose id is `number`."""
    return {"id": number, "file_name": described.name, "width": described.width, "height": described.height}


def caption_rows(described: Annotated, image: int, first: int) -> list[dict[str, Any]]:
    """Returns an annotation for each caption; their ids count from `first`."""
    return [
        {"id": number, "image_id": image, "caption": caption}
        for number, caption in enumerate(described.captions, first)
    ]


def box_rows(
    described: Annotated, image: int, first: int, categories: dict[str, int]
) -> list[dict[str, Any]]:
    """Returns an annotation for each box, with ids from `first`; a phrase that is new gets a number in `categories`."""
    rows: list[dict[str, Any]] = []
    for phrase in described.phrases:
        category = categories.setdefault(phrase.phrase, len(categories) + 1)
        for box in phrase.boxes:
            marked = {"id": first + len(rows), "image_id": image, "category_id": category}
            rows.append(marked | _bbox(box))
    return rows


def category_rows(categories: Mapping[str, int]) -> list[dict[str, Any]]:
    """Returns the entries of the categories."""
    return [{"id": number, "name": name} for name, number in categories.items()]


def from_coco(record: Mapping[str, Any]) -> list[Annotated]:
    """Returns the annotated images of a JSON, in its order; raises MarkupError where an annotation is of none."""
    names = {one["id"]: str(one["name"]) for one in record.get("categories", [])}
    captions: dict[Any, list[str]] = {one["id"]: [] for one in record["images"]}
    boxes: dict[Any, dict[str, list[Box]]] = {one["id"]: {} for one in record["images"]}
    for one in record["annotations"]:
        image = one["image_id"]
        if image not in captions or ("caption" not in one and one.get("category_id") not in names):
            raise MarkupError(f"annotation {one.get('id')!r} is of no image or no category there")
        if "caption" in one:
            captions[image].append(one["caption"])
        else:
            x, y, width, height = one["bbox"]
            box = (x, y, round(x + width, 2), round(y + height, 2))
            boxes[image].setdefault(names[one["category_id"]], []).append(box)
    return [
        Annotated(
            one["file_name"],
            one["width"],
            one["height"],
            tuple(captions[one["id"]]),
            tuple(Phrase(words, tuple(found)) for words, found in boxes[one["id"]].items()),
        )
        for one in record["images"]
    ]


def _bbox(box: Box) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {"bbox": [x1, y1, width, height], "area": round(width * height, 2), "iscrowd": 0}
