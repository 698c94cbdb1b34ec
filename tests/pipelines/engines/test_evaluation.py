"""Evaluation protection at size: the same bytes on every engine, and every pair of 40 million found."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.table import SIGNALS
from pipelines.layout import Layout
from pipelines.phases.dedup.driver import DedupPlan, dedup
from pipelines.phases.select.driver import SelectPlan, select
from pipelines.recipe.model import Recipe
from pipelines.runs import Options, engine_for
from tests.pipelines.building import Heard
from tests.pipelines.engines.contract import QUIET

TRAINING, EVALUATION, SHARED = 20_000, 2_000, 1_000
RECIPE = Recipe.model_validate(
    {"sources": [{"id": "web", "path": "web"}, {"id": "bench", "path": "bench", "role": "eval"}]}
)
SHARDS = [("bench", f"{number}") for number in range(2)] + [("web", f"{number}") for number in range(8)]

pytestmark = QUIET


@pytest.fixture(scope="module")
def hashes() -> dict[str, npt.NDArray[np.uint64]]:
    """Random hashes; a thousand training ones are evaluation ones with up to six bits changed."""
    rng = np.random.default_rng(18)
    bench = rng.integers(0, 1 << 64, EVALUATION, np.uint64)
    web = rng.integers(0, 1 << 64, TRAINING, np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (SHARED, 6), np.uint64)
    flips[rng.random(flips.shape) < 0.4] = 0
    places = rng.choice(TRAINING, SHARED, replace=False)
    web[places] = rng.choice(bench, SHARED) ^ np.bitwise_xor.reduce(flips, axis=1)
    return {"web": web, "bench": bench}


def write(layout: Layout, hashes: dict[str, npt.NDArray[np.uint64]]) -> None:
    """Signals of rows that pass every rule."""
    for source, values in hashes.items():
        names = [shard for owner, shard in SHARDS if owner == source]
        for shard, rows in zip(names, np.array_split(np.arange(len(values)), len(names)), strict=True):
            digests = [f"{source}{row}".encode().hex().rjust(64, "0") for row in rows]
            known: dict[str, Any] = {
                "key": [digest[-32:] for digest in digests],
                "source": [source] * len(rows),
                "shard": [shard] * len(rows),
                "member": [str(row) for row in rows],
                "caption": ["a caption of this row"] * len(rows),
                "sha256": digests,
                "pixels": [digest[-32:] for digest in digests],
                "phash": pa.array(values[rows]),
            }
            columns = [
                pa.array(known[f.name], f.type) if f.name in known else pa.nulls(len(rows), f.type)
                for f in SIGNALS
            ]
            path = Path(layout.path("signals", source, shard))
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(columns, schema=SIGNALS), path)


def decided(folder: Path, hashes: dict[str, npt.NDArray[np.uint64]], options: Options) -> dict[str, bytes]:
    """Every file of clusters and decisions after dedup and select."""
    layout = Layout(str(folder))
    write(layout, hashes)
    with engine_for(options, Heard()) as engine:
        engine.open(layout)
        plan = DedupPlan(layout, tuple(SHARDS), evaluation=RECIPE.evaluation, partitions=3)
        dedup(engine, plan)
        select(engine, SelectPlan(RECIPE, layout, SHARDS, 3, scored={}))
    found = [
        path for kind in ("clusters", "decisions") for path in (folder / "work" / kind).rglob("*.parquet")
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def inline(hashes: dict[str, npt.NDArray[np.uint64]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all engines are held against."""
    folder = tmp_path_factory.mktemp("inline")
    assert len(decided(folder, hashes, Options("inline"))) == 2 * len(SHARDS)
    return folder


def test_every_pair_is_found(inline: Path, hashes: dict[str, npt.NDArray[np.uint64]]) -> None:
    """Of all training rows those within the distance of an evaluation row go, by a comparison of all with all."""
    near = np.zeros(TRAINING, bool)
    for value in hashes["bench"]:
        near |= np.bitwise_count(hashes["web"] ^ value) <= 4
    rows = [
        row
        for path in sorted((inline / "work" / "decisions").rglob("*.parquet"))
        for row in pq.ParquetFile(path).read(["source", "member", "decision", "reason", "split"]).to_pylist()
    ]
    gone = {int(row["member"]) for row in rows if row["reason"] == "eval:bench"}
    assert gone == set(np.flatnonzero(near).tolist())
    assert 500 < len(gone) < SHARED
    bench = [(row["decision"], row["split"]) for row in rows if row["source"] == "bench"]
    assert bench == [("kept", "eval")] * EVALUATION


@pytest.mark.timeout(900)
def test_every_engine_writes_the_same_bytes(
    inline: Path, hashes: dict[str, npt.NDArray[np.uint64]], tmp_path: Path, other_engine: Options
) -> None:
    """20,000 training rows and 2,000 evaluation rows: clusters and decisions are equal to the byte."""
    wanted = {
        str(path.relative_to(inline)): path.read_bytes()
        for kind in ("clusters", "decisions")
        for path in (inline / "work" / kind).rglob("*.parquet")
    }
    assert decided(tmp_path, hashes, other_engine) == wanted
