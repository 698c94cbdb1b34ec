"""Visual Genome: region descriptions, and questions (VGQA).

region_descriptions.json and question_answers.json are lists of pictures with their `regions` or `qas`;
image_data.json has the pictures' sizes and addresses.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.boxes import from_size, size_of
from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import boxes_of, region_drafts, vqa_draft, words
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import by_id
from schemas.sample import Phrase


def region_records(pictures: Iterable[Any], image_data: Iterable[Any]) -> Iterator[Record]:
    """One record a region, named by its region_id, joined with its picture."""
    known = by_id(image_data, "image_id")
    return _each(pictures, known, "regions", "region_id", "region")


def question_records(pictures: Iterable[Any], image_data: Iterable[Any] = ()) -> Iterator[Record]:
    """One record a question, named by its qa_id; picture names need image_data where folders matter."""
    known = by_id(image_data, "image_id")
    return _each(pictures, known, "qas", "qa_id", "qa")


def build_regions(records: Iterable[Record]) -> Iterator[Built]:
    """For each region its phrase to box and box to phrase."""
    return outcomes(records, _region)


def build_questions(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample of task vqa."""
    return outcomes(records, _question)


def _each(
    pictures: Iterable[Any], known: Mapping[Any, Mapping[str, Any]], field: str, name: str, kind: str
) -> Iterator[Record]:
    for number, picture in enumerate(pictures):
        items = picture.get(field) if isinstance(picture, Mapping) else None
        if not isinstance(items, list):
            yield Record(
                f"picture-{number}", {}, Refusal("bad_record", f"the picture has no list of {field}")
            )
            continue
        own = picture.get("id", picture.get("image_id"))
        for place, item in enumerate(items):
            if not isinstance(item, Mapping):
                refusal = Refusal("bad_record", f"{kind} {place} is no JSON object")
                yield Record(f"picture-{number}-{place}", {}, refusal)
                continue
            image_id = item.get("image_id", item.get("image", own))
            member = item.get(name)
            member = f"picture-{number}-{place}" if member is None else str(member)
            yield Record(member, {kind: item, "image_id": image_id, "image": known.get(image_id)})


def _region(value: Mapping[str, Any]) -> Made:
    region, image = value["region"], value["image"]
    if image is None:
        raise Refused("unknown_image", f"image_data has no picture {value['image_id']!r}")
    picture = Picture(_name(image, value["image_id"]), *size_of(image.get("width"), image.get("height")))
    text = words(region["phrase"], "empty_phrase")
    lost: list[Refusal] = []
    numbers = [region["x"], region["y"], region["width"], region["height"]]
    boxes = boxes_of([numbers], picture, from_size, lost)
    return (region_drafts(picture, Phrase(text, boxes, (), True)) if boxes else []), lost


def _question(value: Mapping[str, Any]) -> Made:
    qa, image = value["qa"], value["image"] or {}
    size = (image["width"], image["height"]) if "width" in image and "height" in image else (0, 0)
    picture = Picture(_name(image, value["image_id"]), *size)
    return [vqa_draft(picture, qa.get("question"), qa.get("answer"))], []


def _name(image: Mapping[str, Any], image_id: object) -> str:
    """The file below the folder of Visual Genome: VG_100K/2.jpg; without an address 2.jpg."""
    url = image.get("url")
    parts = url.split("/")[-2:] if isinstance(url, str) else []
    if len(parts) == 2 and parts[0].startswith("VG_100K") and parts[1] not in ("", ".", ".."):
        return "/".join(parts)
    if not isinstance(image_id, int | str):
        raise Refused("no_image")
    return f"{image_id}.jpg"
