"""Phase compose, whose samples do not depend on how many rows it holds at a time."""

from pathlib import Path

import pytest

from pipelines.phases import compose
from tests.pipelines import raw
from tests.pipelines.building import build


def test_rows_are_composed_in_any_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions of one row, of some and of all leave the same bytes and the same receipts."""
    raw.scored(tmp_path / "web" / "a.parquet", [0.5] * 25, [raw.caption(n // 2) for n in range(25)])
    recipe = {
        "languages": ["en"],
        "splits": {"val": 0.3},
        "sources": [{"id": "web", "path": str(tmp_path / "web"), "columns": "laion"}],
    }
    left = []
    for rows in (1, 7, 32_768):
        monkeypatch.setattr(compose, "ROWS", rows)
        out = tmp_path / f"out-{rows}"
        results, _ = build(recipe, out, until="compose")
        (receipt,) = (one for _, one in results["compose"].items())
        described = {name: receipt[name] for name in ("samples", "sizes", "runs")}
        left.append(((out / "work" / "samples" / "web" / "a.parquet").read_bytes(), described))
    assert left[0][1]["samples"] > 8
    assert left[0] == left[1] == left[2]
