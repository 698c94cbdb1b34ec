"""Text lines of a user's own with their places: ICDAR 2015's gt_*.txt, PaddleOCR's label files, COCO-Text.

x1,y1,x2,y2,x3,y3,x4,y4,text                                        gt_NAME.txt, of the image NAME
images/1.jpg<tab>[{"transcription": …, "points": [[x, y], …]}]      a line an image
{"imgs": {id: {…}}, "anns": {id: {"image_id", "bbox", "utf8_string", "legibility"}}}
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pipelines.datasets.dataset import BAD, Dataset, Glimpse, Made, Record, bad_record, matching
from pipelines.datasets.drafts import SHOWN, Draft, NamedImage, named, text_or_none, words
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import MAX_RECORD, FileError, load, mapped
from pipelines.files import Store
from schemas.errors import ShardError
from schemas.sample import Phrase, Quad, Turn

MAX_FILE: Final = 1 << 30
TEXTS: Final = ("*.txt",)
JSON: Final = ("*.json",)
"""Files that a folder is read from: its texts, else its JSON."""

_EIGHT: Final = re.compile(r"\ufeff?(?:-?\d{1,6},){8}")
_ILLEGIBLE: Final = ("###", "*", "")


def _records(store: Store, path: str) -> Iterator[Record]:
    """Returns one record an image: of each text file of a folder, or of the one file at `path`."""
    is_folder = store.is_folder(path)
    infos = matching(store.list_files(path), TEXTS, JSON) if is_folder else [store.info(path)]
    damage: list[str] = []
    for info in infos:
        stem = info.name[:-4] if info.name.lower().endswith(".txt") else info.name
        if info.size > MAX_FILE:
            yield Record(stem, {}, Refusal("too_large", f"a file of {info.size} bytes"))
            continue
        data = store.read_bytes(info.path)
        if info.name.lower().endswith(".json"):
            yield from _documented(data, info.name, damage if is_folder else None)
        else:
            yield from _texts(stem, data)
    if damage:
        raise ShardError(*damage)


def _documented(data: bytes, name: str, damage: list[str] | None) -> Iterator[Record]:
    """Yields the records of COCO-Text; of a damaged file among others one that names it, and adds to `damage`."""
    try:
        yield from _coco_text(load(data, name), name)
    except FileError as error:
        if damage is None:
            raise
        damage.append(str(error))
        yield Record(name, {}, Refusal("damaged_file", f"the file {error.what}"))


def _texts(stem: str, data: bytes) -> Iterator[Record]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Record(
            stem, {}, Refusal("bad_record", f"the file is no UTF-8: {error.reason} at byte {error.start}")
        )
        return
    lines = [line for line in text.split("\n") if line.strip()]
    is_labels = any("\t[" in line for line in lines) and not any(map(_EIGHT.match, lines[:1]))
    if not is_labels:
        folder, slash, base = stem.rpartition("/")
        yield Record(stem, {"image": folder + slash + base.removeprefix("gt_"), "lines": lines})
        return
    for line in lines:
        line = line.rstrip("\r")
        name, tab, labels = line.partition("\t")
        try:
            if not tab:
                raise Refused("bad_json", f"{line[:80]!r} has no tab between the image and its labels")
            if len(labels) > MAX_RECORD:
                raise Refused("too_large", f"a line of {len(labels)} characters")
            yield Record(name, {"image": name, "lines": json.loads(labels)})
        except Refused as error:
            yield Record(name, {}, error.refusal)
        except (ValueError, RecursionError) as error:
            yield Record(name, {}, Refusal("bad_json", f"the labels are no JSON ({type(error).__name__})"))


def _coco_text(data: Any, name: str) -> Iterator[Record]:
    images, texts = (mapped(mapped(data, name).get(part), name) for part in ("imgs", "anns"))
    own: dict[str, list[Any]] = {}
    for id_, one in texts.items():
        if isinstance(one, Mapping):
            own.setdefault(str(one.get("image_id")), []).append({"id": id_, **one})
    for id_, image in images.items():
        yield Record(
            str(id_),
            {
                "image": image.get("file_name") if isinstance(image, Mapping) else None,
                "lines": own.pop(str(id_), []),
            },
        )
    for id_, lines in own.items():
        refusal = Refusal("unknown_image", f"no image has the id {id_!r}")
        yield Record(f"annotations-of-{id_}", {"lines": lines}, refusal)


def _make(value: Mapping[str, Any]) -> Made:
    """Returns the image with its text lines and their quads, in the order of the file."""
    image = NamedImage(named(value["image"]))
    lost: list[Refusal] = []
    phrases: list[Phrase] = []
    taught: list[int] = []
    if not isinstance(value["lines"], list):
        raise Refused("bad_record", "the labels are no list")
    for at, line in enumerate(value["lines"]):
        try:
            text, quad = _line(line)
            if text.strip() in _ILLEGIBLE:
                raise Refused("unreadable")
            phrases.append(Phrase(words(text, "empty_phrase"), (), (quad,), True))
            taught.append(at)
        except Refused as error:
            lost.append(error.refusal._replace(at=at))
        except BAD as error:
            lost.append(bad_record(error)._replace(at=at))
    if not phrases:
        if not lost:
            raise Refused("no_regions", "the image has no text line")
        return [], lost
    turn = Turn("document", (SHOWN, *phrases))
    return [Draft("ocr", "", (image,), (turn,), taught=tuple(taught))], lost


def _line(line: Any) -> tuple[str, Quad]:
    """Returns the words of a text line and its corners."""
    if isinstance(line, str):
        line = line.rstrip("\r")
        parts = line.split(",", 8)
        try:
            sides = [float(part) for part in parts[:8]]
        except ValueError:
            sides = []
        if len(parts) != 9 or len(sides) != 8:
            raise Refused("box_numbers", f"{line[:80]!r} is not eight numbers and a text")
        return parts[8], _corners([*zip(sides[::2], sides[1::2], strict=True)])
    if "points" in line:
        text = (
            "" if line.get("difficult") is True and not line.get("transcription") else line["transcription"]
        )
        return text, _corners(line["points"])
    if line.get("legibility") == "illegible" or "utf8_string" not in line:
        raise Refused("unreadable")
    box = line["bbox"]
    if not (_are_numbers(box) and len(box) == 4):
        raise Refused("box_numbers", f"{repr(box)[:80]} is no box")
    x, y, width, height = box
    return line["utf8_string"], _corners([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) and abs(one) < 1e7
        for one in values
    )


def _corners(points: Sequence[Any]) -> Quad:
    """Returns four corners as they are given; of more corners, the rectangle around them."""
    are_points = isinstance(points, list) and all(_are_numbers(one) and len(one) == 2 for one in points)
    if not are_points or len(points) < 4:
        raise Refused("box_numbers", f"{repr(points)[:80]} are no four corners")
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    if max(xs) - min(xs) < 1 or max(ys) - min(ys) < 1:
        shown = ", ".join(f"({x:g}, {y:g})" for x, y in points[:8])
        raise Refused("box_degenerate", f"the corners {shown} have no extent")
    if len(xs) > 4:
        xs, ys = [min(xs), max(xs), max(xs), min(xs)], [min(ys), min(ys), max(ys), max(ys)]
    first, second, third, fourth = zip(xs, ys, strict=True)
    return first, second, third, fourth


def _line_ids(value: Mapping[str, Any]) -> list[str]:
    """Returns the id of each text line, its number from 0 where it has none."""
    lines = value.get("lines")
    ids = [
        one.get("id") if isinstance(one, Mapping) else None
        for one in (lines if isinstance(lines, list) else ())
    ]
    return [text_or_none(one) or f"line-{at}" for at, one in enumerate(ids)]


def _fits(seen: Glimpse) -> float:
    """Returns how well a file fits COCO-Text, PaddleOCR's label file or ICDAR's text files."""
    is_known = seen.fields >= {"imgs", "anns"} or seen.fields >= {"transcription", "points"}
    return 2.0 if is_known or _EIGHT.match(seen.text) else 0.0


OCR_LABELS: Final = Dataset(
    "gt_*.txt (ICDAR 2015), Label.txt (PaddleOCR), cocotext.*.json (COCO-Text), or a folder of them",
    "an image",
    ("ocr",),
    _make,
    folder=_records,
    recognised=_fits,
    listed=_line_ids,
    kind="line",
    many=TEXTS,
    spare=JSON,
)
