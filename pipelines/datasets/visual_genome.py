"""Visual Genome: region descriptions, and questions (VGQA).

region_descriptions.json and question_answers.json are lists of images with their `regions` or `qas`;
image_data.json has the images' sizes and addresses.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pipelines.datasets.boxes import from_size, size_of
from pipelines.datasets.dataset import Dataset, Files, Made, Record, having
from pipelines.datasets.drafts import (
    REGION_TASKS,
    About,
    NamedImage,
    extra_of,
    on_grid,
    region_drafts,
    text_or_none,
    vqa_draft,
    with_about,
    words,
)
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import by_id, document, joined, listed
from pipelines.datasets.vqa import vqa
from schemas.sample import Phrase


def _records(part: str, field: str, name: str, kind: str) -> Callable[[Files], Iterator[Record]]:
    """Returns a reader of one record an item of each image's `field`, named by `name`, joined with its image."""

    def read(files: Files) -> Iterator[Record]:
        with document(files, part) as found, document(files, "images") as described:
            if described.damage is not None:  # sizes and addresses of images would be missing
                raise described.damage
            known = by_id(listed(described.value, "images"), "image_id")
            yield from records(listed(found.value, part), known)

    def records(images: list[Any], known: Mapping[Any, Mapping[str, Any]]) -> Iterator[Record]:
        for number, image in enumerate(images):
            items = image.get(field) if isinstance(image, Mapping) else None
            if not isinstance(items, list):
                refusal = Refusal("bad_record", f"the image has no list of {field}")
                yield Record(f"picture-{number}", {}, refusal)
                continue
            own = image.get("id", image.get("image_id"))
            for place, item in enumerate(items):
                stand_in = f"picture-{number}-{place}"
                if not isinstance(item, Mapping):
                    yield Record(stand_in, {}, Refusal("bad_record", f"{kind} {place} is no JSON object"))
                    continue
                image_id = item.get("image_id", item.get("image", own))
                member = stand_in if item.get(name) is None else str(item[name])
                yield Record(member, {kind: item, "image_id": image_id, "image": joined(known, image_id)})

    return read


def _region(value: Mapping[str, Any]) -> Made:
    region, image = value["region"], value["image"]
    if image is None:
        raise Refused("unknown_image", f"image_data has no image {value['image_id']!r}")
    size = size_of(image.get("width"), image.get("height"))
    shown = NamedImage(_name(image, value["image_id"]), *size, text_or_none(image.get("url")))
    text = words(region["phrase"], "empty_phrase")
    box = from_size([region["x"], region["y"], region["width"], region["height"]], *size)
    about = About(extra=extra_of(image_id=value["image_id"]))
    return with_about(region_drafts(shown, Phrase(text, (on_grid(box, *size),), (), True)), about), []


def _question(value: Mapping[str, Any]) -> Made:
    qa, image = value["qa"], value["image"] or {}
    known = "width" in image and "height" in image
    width, height = (image["width"], image["height"]) if known else (0, 0)
    shown = NamedImage(_name(image, value["image_id"]), width, height, text_or_none(image.get("url")))
    about = About(extra=extra_of(image_id=value["image_id"]))
    return with_about([vqa_draft(shown, qa.get("question"), qa.get("answer"))], about), []


def _name(image: Mapping[str, Any], image_id: object) -> str:
    """Returns the file below the folder of Visual Genome: VG_100K/2.jpg; without an address 2.jpg."""
    url = image.get("url")
    parts = url.split("/")[-2:] if isinstance(url, str) else []
    if len(parts) == 2 and parts[0].startswith("VG_100K") and parts[1] not in ("", ".", ".."):
        return "/".join(parts)
    if not isinstance(image_id, int | str):
        raise Refused("no_image")
    return f"{image_id}.jpg"


REGIONS: Final = Dataset(
    "region_descriptions.json, image_data.json",
    "a region",
    REGION_TASKS,
    _region,
    _records("regions", "regions", "region_id", "region"),
    recognised=having("regions", "phrase", "x", "y"),
    named=True,
    parts=("regions", "images"),
)
QUESTIONS: Final = vqa(
    "question_answers.json, image_data.json",
    _question,
    _records("questions", "qas", "qa_id", "qa"),
    having("qas", "question", "answer"),
    ("questions", "images"),
)
