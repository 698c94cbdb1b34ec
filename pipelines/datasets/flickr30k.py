"""Flickr30k Entities: Sentences/ID.txt with phrases in brackets, Annotations/ID.xml with their boxes.

    [/EN#283585/people Two young guys] with [/EN#283587/bodyparts shaggy hair] look at their hands .

The number joins a phrase with the objects of the XML (Pascal VOC's form, corners in pixels).
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipelines.datasets.boxes import boxes_of, from_corners, size_of
from pipelines.datasets.dataset import Dataset, Made, Record
from pipelines.datasets.drafts import NamedImage, Place, grounded_drafts, named, teaching
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.files import Store, join
from schemas.sample import GROUNDED, Phrase

_ENTITY: Final = re.compile(r"\[/EN#(\d+)((?:/[^\s/\]]+)+) ([^\[\]]+)\]")
MAX_XML: Final = 4 * 1024 * 1024


def _folder(store: Store, folder: str) -> Iterator[Record]:
    for info in store.list_files(join(folder, "Sentences")):
        if not info.name.endswith(".txt") or info.name.startswith("."):
            continue
        image_id = info.name.removesuffix(".txt")
        text = store.read_bytes(info.path).decode("utf-8", "replace")
        path = join(folder, "Annotations", f"{image_id}.xml")
        yield from records(image_id, text, store.read_bytes(path) if store.exists(path) else None)


def records(image_id: str, sentences: str, annotation: bytes | None) -> Iterator[Record]:
    """Returns one record a sentence of an image, named ID#N, joined with the image's boxes; refused without them."""
    try:
        if annotation is None:
            raise Refused("unknown_annotation", f"there is no file Annotations/{image_id}.xml")
        known: Mapping[str, Any] = _annotation(annotation)
        refusal = None
    except Refused as error:
        known, refusal = {}, error.refusal
    for number, line in enumerate(sentences.splitlines()):
        if line.strip():
            yield Record(f"{image_id}#{number}", {**known, "sentence": line.strip()}, refusal)


def _plain(sentence: str) -> tuple[str, list[tuple[int, int, str]]]:
    """Returns the sentence without brackets, and its phrases as (start, end, number)."""
    parts: list[str] = []
    places = []
    at = length = 0
    for match in _ENTITY.finditer(sentence):
        parts += [sentence[at : match.start()], match[3]]
        start = length + match.start() - at
        length = start + len(match[3])
        places.append((start, length, match[1]))
        at = match.end()
    caption = "".join([*parts, sentence[at:]])
    if "[/EN#" in caption:
        raise Refused("bad_record", "a bracket of the sentence is not closed")
    return caption, places


def _make(value: Mapping[str, Any]) -> Made:
    """Returns the caption with boxes, and both views of each phrase that has one."""
    image = NamedImage(named(value["name"]), *size_of(value["width"], value["height"]))
    caption, places = _plain(value["sentence"])
    lost: list[Refusal] = []
    kept = []
    taught: list[int] = []
    at = 0
    for start, end, number in places:
        given = value["boxes"].get(number, ())
        if not given:
            lost.append(Refusal("no_regions", f"the phrase {caption[start:end]!r} has no box", at))
        boxes = boxes_of(enumerate(given, at), image, from_corners, lost)
        at += len(given) or 1
        if boxes:
            kept.append(Place(start, end, Phrase(caption[start:end], tuple(boxes), (), True)))
            taught += [one for found in boxes.values() for one in found]
    if not places:
        raise Refused("no_regions", "no phrase of the sentence has a box")
    return teaching(grounded_drafts(image, caption, kept), taught), lost


def _phrase_ids(value: Mapping[str, Any]) -> list[str]:
    """Returns an id for each box of each phrase of the sentence, and one for a phrase that has none."""
    found: list[str] = []
    for match in _ENTITY.finditer(value["sentence"]):
        boxes = len(value.get("boxes", {}).get(match[1], ()))
        found += [f"{match[1]}/{number}" for number in range(boxes)] if boxes > 1 else [match[1]]
    return found


def _annotation(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_XML or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise Refused("bad_record", "the annotation is too large, or has a document type")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise Refused("bad_record", f"the annotation is no XML: {error}") from error
    boxes: dict[str, list[list[float | str]]] = {}
    for item in root.iter("object"):
        box = item.find("bndbox")
        if box is None:
            continue
        numbers = [_number(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")]
        for name in item.iter("name"):
            boxes.setdefault((name.text or "").strip(), []).append(numbers)
    size = [root.findtext(f"size/{side}", "") for side in ("width", "height")]
    width, height = (int(one) if one.strip().isdecimal() else 0 for one in size)
    return {"name": root.findtext("filename"), "width": width, "height": height, "boxes": boxes}


def _number(text: str) -> float | str:
    """Returns the number that a text is; the text where it is none, which is no side of a box."""
    try:
        return float(text)
    except ValueError:
        return text


FLICKR30K: Final = Dataset(
    "a folder with Sentences/*.txt and Annotations/*.xml",
    "a sentence",
    GROUNDED,
    _make,
    folder=_folder,
    named=True,
    listed=_phrase_ids,
    kind="phrase",
)
