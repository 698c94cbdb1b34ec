"""What a model answered, kept: a Parquet file of all, a page that shows some on their pictures."""

import base64
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from model.draw import thumbnail
from model.tasks import Answered, Known, asked, told, true_boxes

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


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer with what it is held against."""

    answered: Answered
    exchanged: str
    stored: bytes
    objects: int

    @classmethod
    def of(cls, answered: Answered, exchanged: str, stored: bytes, known: Known) -> "Prediction":
        """The prediction of an answered sample."""
        return cls(answered, exchanged, stored, known.count(answered.picture))

    def row(self) -> dict[str, object]:
        """The values of SCHEMA."""
        sample = self.answered.sample
        boxes = true_boxes(sample)
        truth = told(sample) if not boxes else json.dumps(boxes, ensure_ascii=False)
        return {
            "key": sample.key,
            "task": sample.task,
            "source": sample.source,
            "language": sample.language,
            "picture": self.answered.picture,
            "objects": self.objects,
            "asked": asked(sample),
            "truth": truth,
            "answer": self.answered.text,
            "answer_exchanged": self.exchanged,
        }


def write_parquet(predictions: Sequence[Prediction], path: Path) -> None:
    """Writes all predictions."""
    pq.write_table(pa.Table.from_pylist([one.row() for one in predictions], SCHEMA), path, compression="zstd")


def write_page(predictions: Sequence[Prediction], figures: Mapping[str, Any], path: Path) -> None:
    """Writes one HTML file, pictures and all, with the figures and the first answers of each task."""
    by_task: dict[str, list[Prediction]] = defaultdict(list)
    for one in predictions:
        by_task[one.answered.sample.task].append(one)
    parts = [_HEAD, f"<pre>{escape(json.dumps(figures, indent=2, sort_keys=True))}</pre>"]
    for task, found in sorted(by_task.items()):
        parts.append(f"<h2>{escape(task)}</h2><div class=cards>")
        parts += [_card(one) for one in found[:_SHOWN]]
        parts.append("</div>")
    path.write_text("\n".join(parts) + "\n", "utf-8")


_HEAD: Final = """<!doctype html><meta charset="utf-8"><title>Predictions</title>
<style>body{font:14px sans-serif;margin:2em}.cards{display:flex;flex-wrap:wrap;gap:1em}
.card{width:250px;overflow-wrap:anywhere}img{max-width:100%}b{color:#555}</style><h1>Predictions</h1>"""


def _card(one: Prediction) -> str:
    row = one.row()
    picture = thumbnail(one.stored, one.answered.phrases)
    source = base64.b64encode(picture).decode()
    image = f'<img alt="" src="data:image/jpeg;base64,{source}">' if picture else ""
    told_of = "".join(
        f"<br><b>{name}</b> {escape(str(row[name])[:300])}" for name in ("asked", "answer", "truth")
    )
    return f"<div class=card>{image}{told_of}</div>"
