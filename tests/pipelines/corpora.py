"""Small whole corpora on disk, made by the real writers."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pixels

from pipelines.card.readme import card
from pipelines.writers import webdataset
from pipelines.writers.columns import Item
from schemas.manifest import (
    CARD,
    RECIPE,
    SUM,
    Funnel,
    Manifest,
    RuleCount,
    SampleCount,
    Source,
    ViewCount,
    load,
    sum_file,
)
from schemas.manifest_files import Output
from schemas.row import DECISIONS
from schemas.sample import Example, Image, ImageRef, Sample, Text, Turn, View, caption_example

FOLDER = "shards/train/caption/web"


def picture(number: int, form: str = "JPEG") -> bytes:
    """A small picture that differs by `number`."""
    out = io.BytesIO()
    Pixels.new("RGB", (8 + number % 5, 9), (number % 256, 7, 9)).save(out, form)
    return out.getvalue()


def image(data: bytes) -> Image:
    """What a sample says of `data`."""
    with Pixels.open(io.BytesIO(data)) as opened:
        return Image(str(opened.format), *opened.size, hashlib.sha256(data).hexdigest())


def item(number: int, caption: str = "a cat, 一只猫", form: str = "JPEG", language: str = "en") -> Item:
    """A captioned picture whose key rises with `number`."""
    data = picture(number, form)
    known = replace(image(data), url=f"https://example.org/{number}")
    key = f"{number:032x}"
    example = caption_example(
        key, caption, known, split="train", language=language, source="web", licence="CC0-1.0"
    )
    return Item(Sample.of(key, [example]), [data], {"phash": 2**64 - 1 - number})


def alone(example: Example) -> Sample:
    """A sample of one view, by its key."""
    return Sample.of(example.key, [example])


def seen_twice(number: int) -> Item:
    """A captioned picture of which a question is asked too, under another licence."""
    one = item(number)
    asked = (Turn("document", (ImageRef(0), Text("What is it?"), Text("a cat", supervised=True))),)
    question = View(f"{number:032x}-vqa-0", "vqa", "en", "CC BY 4.0", asked, id="7", extra='{"answers": 3}')
    return replace(one, sample=replace(one.sample, views=(*one.sample.views, question)))


def items(count: int) -> Iterator[Item]:
    """`count` captioned pictures in key order."""
    return (item(number) for number in range(count))


def decisions(changes: Mapping[int, tuple[str, str | None]] | None = None) -> list[dict[str, Any]]:
    """The decisions on ten rows of the source web: 5 kept, 4 dropped, 1 quarantined; `changes` overrides."""
    told: dict[int, tuple[str, str | None]] = {
        5: ("dropped", "script"),
        6: ("dropped", "phash"),
        7: ("dropped", "phash"),
        8: ("dropped", "phash"),
        9: ("quarantined", "truncated"),
    }
    told |= changes or {}
    rows = []
    for number in range(10):
        decision, reason = told.get(number, ("kept", None))
        rows.append(
            {
                "source": "web",
                "shard": "00000",
                "member": f"{number:09d}",
                "key": f"{number:032x}",
                "decision": decision,
                "reason": reason,
                "failed": [reason] if decision == "dropped" else [],
                "detail": None,
                "split": "train" if decision == "kept" else None,
            }
        )
    return rows


def build(
    folder: Path, rows: list[dict[str, Any]] | None = None, settings: dict[str, Any] | None = None
) -> Manifest:
    """Writes a corpus whose samples are the rows kept; gives its manifest."""
    rows = decisions() if rows is None else rows
    kept = [int(row["member"]) for row in rows if row["decision"] == "kept"]
    outputs = _shard(folder, kept)
    work = folder / "work/decisions/web"
    work.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, DECISIONS), work / "00000.parquet")
    recipe = _recipe(settings or {})
    manifest = Manifest(
        recipe=hashlib.sha256(recipe).hexdigest(),
        seed=1,
        versions={"pyarrow": pa.__version__},
        sources=(Source(id="web", origin="a crawl", licence="CC0-1.0", rows=len(rows)),),
        thresholds={"web": {"phash": {"distance": 4}} | (settings or {})},
        funnel={"web": funnel(rows)},
        samples=(
            SampleCount(split="train", group="caption", source="web", samples=len(kept), images=len(kept)),
        ),
        views=(
            ViewCount(
                split="train",
                group="caption",
                task="caption",
                source="web",
                views=len(kept),
                languages={"en": len(kept)},
            ),
        ),
        licences={"web": {"CC0-1.0": len(kept)}},
        outputs=outputs,
        shards={FOLDER: ("00000",)},
    )
    (folder / "run.json").write_text("{}")
    (folder / RECIPE).write_bytes(recipe)
    (folder / "manifest.json").write_bytes(manifest.dump())
    seal(folder, RECIPE)
    return load((folder / "manifest.json").read_bytes())


def seal(folder: Path, *names: str) -> None:
    """Makes the manifest agree with the files `names`, and the card and its digest with the manifest, as they are."""
    path = folder / "manifest.json"
    record = json.loads(path.read_bytes())
    for name in names:
        record["outputs"].setdefault(name, {"rows": None}).update(_sum(folder / name))
    record["outputs"].pop(CARD, None)
    (folder / CARD).write_text(card(load(json.dumps(record).encode(), sums=False)), "utf-8")
    record["outputs"][CARD] = {"rows": None, **_sum(folder / CARD)}
    path.write_bytes(load(json.dumps(record).encode(), sums=False).dump())
    (folder / SUM).write_bytes(sum_file(path.read_bytes()))


def _sum(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _recipe(settings: dict[str, Any]) -> bytes:
    """The recipe of the corpus that `build` writes, as its digest takes it."""
    source = {"id": "web", "origin": "a crawl", "licence": "CC0-1.0", "role": "train", "languages": None}
    rules = {"phash": {"distance": 4}, **settings}
    record = {
        "name": "corpus",
        "seed": 1,
        "languages": [],
        "captions": "all",
        "rules": rules,
        "sources": [source],
    }
    return json.dumps(record, sort_keys=True).encode()


def funnel(rows: list[dict[str, Any]]) -> Funnel:
    """The funnel of `rows`, each of which fails one rule at most."""
    counts = {
        name: sum(row["decision"] == name for row in rows) for name in ("kept", "dropped", "quarantined")
    }
    first = {
        rule: sum(row["decision"] == "dropped" and row["reason"] == rule for row in rows)
        for rule in ("script", "phash")
    }
    rules = tuple(RuleCount(rule=rule, dropped=n, failed=n) for rule, n in first.items())
    return Funnel(rows=len(rows), **counts, rules=rules, errors={"truncated": counts["quarantined"]})


def _shard(folder: Path, kept: list[int]) -> dict[str, Output]:
    tar, index = folder / FOLDER / "00000.tar", folder / FOLDER / "00000.parquet"
    tar.parent.mkdir(parents=True)
    with tar.open("wb") as tar_file, index.open("wb") as index_file:
        written = webdataset.write((item(number) for number in kept), tar_file, index_file)
    return {
        f"{FOLDER}/{path.name}": Output(size=one.size, sha256=one.sha256, rows=one.rows)
        for path, one in ((tar, written.tar), (index, written.index))
    }
