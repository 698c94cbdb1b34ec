"""Fetches in a test: lists written, fetched by the inline engine, and what became of each URL."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.progress import Reporter
from pipelines.recipe.load import for_lists
from pipelines.runs import Options, run
from tests.pipelines.fetch.hostile import HOST

PATIENCE = {
    "deadline": 2.0,
    "connect_deadline": 1.0,
    "read_deadline": 1.0,
    "backoff": 0.05,
    "max_bytes": 1_000_000,
}
"""What hostile hosts get in a test."""

QUICK: dict[str, Any] = {**PATIENCE, "allow_addresses": [f"{HOST}/32"], "robots": False}

Row = dict[str, Any]


def write_list(path: Path, rows: Sequence[Row | str | None]) -> str:
    """Writes a list as Parquet: rows, or URLs with a caption each; returns the path."""
    whole = [
        row if isinstance(row, dict) else {"url": row, "caption": f"a picture of the thing number {at}"}
        for at, row in enumerate(rows)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(whole), path)
    return str(path)


def fetch(
    folder: Path, lists: str | Sequence[str], again: bool = False, workers: int = 0, **settings: Any
) -> list[Row]:
    """Fetches lists into a folder; returns the status of every row, in order."""
    given = [lists] if isinstance(lists, str) else list(lists)
    recipe = for_lists(given, str(folder), {**QUICK, **settings})
    engine = "local" if workers else "inline"
    run(recipe, "fetch", Options(engine, workers or None, retry_failed=again), Reporter())
    return statuses(folder)


def statuses(folder: Path) -> list[Row]:
    """Returns the status of every row of a fetch, in order."""
    return [
        row
        for path in sorted((folder / "status").glob("*.parquet"))
        for row in pq.ParquetFile(path).read().to_pylist()
    ]


def fetch_urls(folder: Path, urls: Sequence[str | None], **settings: Any) -> dict[str | None, str]:
    """Fetches URLs; returns the status of each."""
    rows = fetch(folder / "raw", write_list(folder / "list.parquet", urls), **settings)
    return {row["url"]: row["status"] for row in rows}


def shards(folder: Path) -> dict[str, bytes]:
    """Returns all that a fetch promises to be the same: raw shards and statuses, by name."""
    names = [*folder.glob("*.tar"), *(folder / "status").glob("*.parquet")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(names)}
