"""Phase compose: the samples of every kept row, without the pictures' bytes."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engines.step import At, Json
from pipelines.fingerprints import fingerprint
from pipelines.layout import Layout
from pipelines.parquet import read_table, write_tables
from schemas.recipe import Recipe, Source
from schemas.sample import Image, Sample, caption_sample, text_sample

WORKER = "pipelines.compose:Compose"

SAMPLES = pa.schema(
    [
        ("task", pa.string()),
        ("split", pa.string()),
        ("key", pa.string()),
        ("language", pa.string()),
        ("member", pa.string()),
        ("offset", pa.int64()),
        # names of pictures in an annotation source's folder; null where `member` holds the picture
        ("images", pa.list_(pa.string())),
        ("sample", pa.string()),
        ("url", pa.string()),
        ("phash", pa.uint64()),
        ("language_score", pa.float32()),
        ("clip_score", pa.float32()),
    ]
)
"""work/samples: sorted by (task, split, key)."""

_SIGNALS = [
    "member",
    "key",
    "caption",
    "language",
    "language_score",
    "format",
    "width",
    "height",
    "sha256",
    "phash",
    "url",
    "offset",
]


def compose_fingerprint(recipe: Recipe, source: Source, kept_digest: str, signals: list[str | None]) -> str:
    """What the samples of one shard depend on."""
    return fingerprint("compose", 2, recipe.tasks, source.id, source.licence, kept_digest, signals)


class Compose:
    """Composes the samples of one input shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])

    def run(self, task: Json, at: At) -> Json:
        """Writes the shard's samples; the receipt counts them by task, split and language."""
        source = self._recipe.source(task["source"])
        rows = self._kept(source.id, task["shard"])
        if source.kind in ("annotations", "rendered"):
            samples = self._annotated(source, task["shard"], rows)
        else:
            samples = [made for row in rows if (made := self._sample(source, row)) is not None]
        samples.sort(key=lambda made: (made["task"], made["split"], made["key"]))
        table = pa.Table.from_pylist(samples, SAMPLES)
        write_tables(self._layout, self._layout.samples(source.id, task["shard"]), SAMPLES, [table])
        return {"samples": len(samples), "counts": _counts(samples)}

    def _kept(self, source: str, shard: str) -> list[dict[str, Any]]:
        """The kept rows' signals, with their split."""
        decisions = read_table(self._layout, self._layout.decisions(source, shard), ["decision", "split"])
        signals = read_table(self._layout, self._layout.signals(source, shard), _SIGNALS)
        table = signals.append_column("split", decisions["split"])
        table = table.append_column("clip_score", self._scores(source, shard, signals))
        return list(table.filter(pc.equal(decisions["decision"], "kept")).to_pylist())

    def _scores(self, source: str, shard: str, signals: pa.Table) -> pa.Array:
        path = self._layout.scores(source, shard)
        if not self._recipe.is_scored(self._recipe.source(source)):
            return pa.nulls(signals.num_rows, pa.float32())
        scores = read_table(self._layout, path, ["member", "clip_score"])
        members = signals["member"].combine_chunks()
        return (
            scores["clip_score"]
            .combine_chunks()
            .take(pc.index_in(members, value_set=scores["member"].combine_chunks()))
        )

    def _annotated(self, source: Source, shard: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The samples of kept annotations, from the drafts that phase measure left."""
        kept = {row["member"]: row for row in rows}
        drafts = read_table(self._layout, self._layout.drafts(source.id, shard))
        samples = []
        for draft in drafts.to_pylist():
            row = kept.get(draft["member"])
            if row is None or draft["task"] not in self._recipe.tasks:
                continue
            sample = replace(Sample.from_json(draft["sample"]), split=row["split"])
            samples.append({**_carried(row), **_described(sample), "images": draft["images"]})
        return samples

    def _sample(self, source: Source, row: dict[str, Any]) -> dict[str, Any] | None:
        sample = self._made(source, row)
        if sample is None or sample.task not in self._recipe.tasks:
            return None
        return {**_carried(row), **_described(sample)}

    def _made(self, source: Source, row: dict[str, Any]) -> Sample | None:
        facts = {"split": row["split"], "source": source.id, "licence": source.licence}
        if row["caption"] is None:
            return None
        if row["sha256"] is None:
            return text_sample(row["key"], row["caption"], language=row["language"] or "und", **facts)
        image = Image(row["format"], row["width"], row["height"], row["sha256"])
        return caption_sample(row["key"], row["caption"], image, language=row["language"] or "und", **facts)


def _carried(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("member", "offset", "url", "phash", "language_score", "clip_score")}


def _described(sample: Sample) -> dict[str, Any]:
    return {
        "task": sample.task,
        "split": sample.split,
        "key": sample.key,
        "language": sample.language,
        "sample": sample.to_json(),
    }


def _counts(samples: list[dict[str, Any]]) -> list[list[Any]]:
    """[task, split, language, samples], sorted."""
    counts: dict[tuple[str, str, str], int] = {}
    for made in samples:
        name = (made["task"], made["split"], made["language"])
        counts[name] = counts.get(name, 0) + 1
    return [[*name, count] for name, count in sorted(counts.items())]
