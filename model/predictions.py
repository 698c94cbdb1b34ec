"""What a model answered, kept: a Parquet file of all, a page that shows some, with regions drawn on their images."""

import base64
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from model.tasks import Answered, asked, taught_words, true_boxes
from schemas.sample import Phrase

SCHEMA: Final = pa.schema(
    [
        ("key", pa.string()),
        ("task", pa.string()),
        ("source", pa.string()),
        ("language", pa.string()),
        ("picture", pa.string()),
        ("objects", pa.int32()),
        ("asked", pa.string()),
        ("truth", pa.string()),
        ("answer", pa.string()),
        ("answer_exchanged", pa.string()),
    ]
)
"""One row a sample; `answer` is markup as the model wrote it, `truth` words and boxes."""

_SHOWN: Final = 24
_COLOURS: Final = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer with what it is held against."""

    answered: Answered
    exchanged: str
    stored: bytes
    objects: int

    def row(self) -> dict[str, object]:
        """Returns the values of SCHEMA."""
        sample = self.answered.sample
        boxes = true_boxes(sample)
        truth = taught_words(sample) if not boxes else json.dumps(boxes, ensure_ascii=False)
        return {
            "key": sample.key,
            "task": sample.task,
            "source": sample.source,
            "language": sample.language,
            "picture": self.answered.image,
            "objects": self.objects,
            "asked": asked(sample),
            "truth": truth,
            "answer": self.answered.text,
            "answer_exchanged": self.exchanged,
        }


def write_parquet(predictions: Sequence[Prediction], path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([one.row() for one in predictions], SCHEMA), path, compression="zstd")


def write_page(predictions: Sequence[Prediction], figures: Mapping[str, Any], path: Path) -> None:
    """Writes one HTML file, images and all, with the figures and the first answers of each task."""
    by_task: dict[str, list[Prediction]] = defaultdict(list)
    for one in predictions:
        by_task[one.answered.sample.task].append(one)
    parts = [_HEAD, *_table(figures)]
    for task, found in sorted(by_task.items()):
        parts.append(f"<h2>{escape(task)}</h2><div class=cards>")
        parts += [_card(one) for one in found[:_SHOWN]]
        parts.append("</div>")
    path.write_text("\n".join(parts) + "\n", "utf-8")


_HEAD: Final = """<!doctype html><meta charset="utf-8"><title>Predictions</title>
<style>body{font:14px sans-serif;margin:2em}.cards{display:flex;flex-wrap:wrap;gap:1em}
.card{width:250px;overflow-wrap:anywhere}img{width:100%}b{color:#555}
table{border-collapse:collapse}td,th{padding:.25em .9em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}small{color:#777}</style><h1>Predictions</h1>
<p>What the model answered is drawn in colour over what is true, in white. <em>Chance</em> is the same model's
figure with each picture exchanged for another sample's.</p>"""


def _table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Returns the figures as a table: value, chance, and the value by number of objects."""
    numbers = sorted({number for part in figures.values() for number in part.get("by_objects", {})}, key=int)
    heads = ["figure", "value", "chance", "n", *(f"{number} objects" for number in numbers)]
    yield f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
    for task, part in sorted(figures.items()):
        for name, one in sorted(part.items()):
            if name == "by_objects":
                continue
            cells = [f"{task} {name}"]
            if isinstance(one, Mapping):
                cells += [_number(one["value"]), _number(one["chance"]), str(one["n"])]
                cells += [_by_number(part, number, name) for number in numbers]
            else:
                cells += [_number(one), "", "", *("" for _ in numbers)]
            yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table>"


def _by_number(part: Mapping[str, Any], number: str, name: str) -> str:
    one = part.get("by_objects", {}).get(number, {}).get(name)
    return f"{_number(one['value'])} <small>n {one['n']}</small>" if one else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _card(one: Prediction) -> str:
    row = one.row()
    small = thumbnail(one.stored, one.answered.phrases, one.answered.sample.phrases)
    source = base64.b64encode(small).decode()
    image = f'<img alt="" src="data:image/jpeg;base64,{source}">' if small else ""
    shown = [(name, str(row[name])) for name in ("asked", "answer", "truth")]
    words = "".join(f"<br><b>{name}</b> {escape(text[:300])}" for name, text in shown if text)
    return f"<div class=card>{image}{words}</div>"


def drawn(image: Image.Image, phrases: Sequence[Phrase]) -> Image.Image:
    """Returns a copy of `image` with each phrase's regions outlined and named."""
    copy = image.convert("RGB")
    pen = ImageDraw.Draw(copy)
    width = max(2, round(max(copy.size) / 250))
    for number, phrase in enumerate(phrases):
        colour = _COLOURS[number % len(_COLOURS)]
        for x1, y1, x2, y2 in phrase.boxes:
            pen.rectangle((x1, y1, x2, y2), outline=colour, width=width)
            _name(pen, phrase.phrase, x1, y1, colour)
        for quad in phrase.quads:
            pen.line([*quad, quad[0]], fill=colour, width=width)
    return copy


def _name(pen: ImageDraw.ImageDraw, words: str, x: float, y: float, colour: str) -> None:
    shown = words.strip()[:40]
    # the built-in font has Latin letters alone, and a row of question marks tells nothing
    if shown.isascii():
        pen.text((x + 3, max(y - 12, 0)), shown, fill=colour)


def _truth(image: Image.Image, phrases: Sequence[Phrase]) -> Image.Image:
    """Returns a copy of `image` with each phrase's regions in white on black, so that they show on any ground."""
    copy = image.convert("RGB")
    pen = ImageDraw.Draw(copy)
    width = max(1, round(max(copy.size) / 400))
    quads = [
        *(quad for phrase in phrases for quad in phrase.quads),
        *(((x1, y1), (x2, y1), (x2, y2), (x1, y2)) for phrase in phrases for x1, y1, x2, y2 in phrase.boxes),
    ]
    for colour, wide in (("black", 3 * width), ("white", width)):
        for quad in quads:
            pen.line([*quad, quad[0]], fill=colour, width=wide)
    return copy


def thumbnail(data: bytes, phrases: Sequence[Phrase], truth: Sequence[Phrase] = ()) -> bytes:
    """Returns a small JPEG of stored image bytes with regions drawn on it, over the true ones in white; empty where it
    cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            small = drawn(_truth(image, truth), phrases)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""
    small.thumbnail((240, 240))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()
