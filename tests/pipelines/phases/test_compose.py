"""Phase compose, whose samples do not depend on how many rows it holds at a time."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.parquet import RowGroups
from pipelines.phases import compose
from schemas.errors import OutputError
from tests.pipelines import raw
from tests.pipelines.building import build


def recipe_of(folder: Path) -> dict[str, Any]:
    """A recipe of one shard of 25 rows, more than eight of which are kept."""
    raw.scored(folder / "a.parquet", [0.5] * 25, [raw.caption(n // 2) for n in range(25)])
    sources = [{"id": "web", "path": str(folder), "columns": "laion"}]
    return {"languages": ["en"], "splits": {"val": 0.3}, "sources": sources}


def test_rows_are_composed_in_any_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions of one row, of some and of all leave the same bytes and the same receipts; signals are read once."""
    reads: list[str] = []
    each = RowGroups.each

    def counted(self: RowGroups, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
        reads.append("once")
        return each(self, columns)

    monkeypatch.setattr(RowGroups, "each", counted)
    recipe = recipe_of(tmp_path / "web")
    left = []
    for rows in (1, 7, 32_768):
        monkeypatch.setattr(compose, "ROWS", rows)
        out = tmp_path / f"out-{rows}"
        results, _ = build(recipe, out, until="compose")
        (receipt,) = (one for _, one in results["compose"].items())
        described = {name: receipt[name] for name in ("samples", "sizes", "runs")}
        left.append(((out / "work" / "samples" / "web" / "a.parquet").read_bytes(), described))
    assert left[0][1]["samples"] > 8
    assert len(reads) == 3
    assert left[0] == left[1] == left[2]


def test_a_full_disk_below_tmpdir_is_told_from_that_of_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples so few that they reach the disk at their end alone: the sentence names TMPDIR, where room is missing."""
    recipe = recipe_of(tmp_path / "web")
    build(recipe, tmp_path / "out", until="select")
    monkeypatch.setattr("tempfile.TemporaryFile", partial(open, "/dev/full", "r+b"))
    with pytest.raises(OutputError, match=r"temporary copy of .*a\.parquet .*TMPDIR"):
        build(recipe, tmp_path / "out", until="compose")
