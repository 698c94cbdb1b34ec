"""A corpus built from the demo crawl, held against what was planted in it."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from pipelines.layout import Layout
from pipelines.manifest import read_manifest
from pipelines.parquet import read_table
from schemas.errors import InputError
from synth.truth import read_truth, score, score_cleaning, score_lines


def print_score(corpus: str, crawl: Path, console: Console) -> None:
    """Precision and recall of every rule, and how many captions were cleaned right.

    Raises InputError where the crawl has no truth, or the corpus was not built from it.
    """
    try:
        truth = read_truth(crawl / "truth.jsonl")
    except OSError as error:
        raise InputError(
            f"{crawl / 'truth.jsonl'} cannot be read: make it with vlcorpus synth crawl"
        ) from error
    layout = Layout(corpus)
    manifest = read_manifest(layout.store, corpus)
    clip = any(bool(rules.get("clip")) for rules in manifest.thresholds.values())
    decisions = pa.concat_tables(
        _tables(layout, "decisions", ["shard", "member", "decision", "reason", "failed"])
    )
    signals = pa.concat_tables(_tables(layout, "signals", ["shard", "member", "caption"]))
    columns = (signals[name].to_pylist() for name in ("shard", "member", "caption"))
    captions = {(shard, member): caption for shard, member, caption in zip(*columns, strict=True)}
    try:
        lines = score_lines(score(decisions, truth, clip))
    except ValueError as error:
        raise InputError(f"{corpus} against {crawl}: {error}") from error
    for line in lines:
        console.print(line)
    for row in score_cleaning(captions, truth).to_pylist():
        console.print(f"{row['planted']}: {row['right']} of {row['rows']} captions cleaned right")


def _tables(layout: Layout, kind: str, columns: list[str]) -> Iterator[pa.Table]:
    for _, info in layout.listed(kind):
        yield read_table(layout, info.path, columns)
