"""Rows with like embeddings: losers and keepers against a comparison of all with all, and what it costs.

    python -m benchmarks.semantic [--rows 20000] [--cell 100 1000] [--similarity 0.95]
    python -m benchmarks.semantic --select 100000 1000000 [--size 128] [--workers 2]   the phase, and its memory

Vectors of 512 numbers in families of one to six around random directions, which lie in 200 themes.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dedup import ROWS_A_SHARD, Timed
from benchmarks.usage import largest_child, peak
from filters.semantic import I16, cells, means, stars, units
from filters.table import SIGNALS
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Json, Step
from pipelines.layout import Layout
from pipelines.phases.dedup.driver import partitions_for
from pipelines.phases.select.driver import SelectPlan, select
from pipelines.phases.select.semantic import MOST_SAMPLED, SAMPLED
from pipelines.recipe.model import Recipe
from schemas.row import SCORES

SIZE = 512
THEMES = 200
SCORER = "a scorer"


def vectors(rows: int, seed: int, size: int = SIZE, themes: int = 0) -> I16:
    """Vectors in a drawn order; the themes are those of the seed `themes`."""
    centres = np.random.default_rng(themes).normal(size=(THEMES, size))
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, rows)
    directions = centres[rng.integers(0, THEMES, rows)] + rng.normal(size=(rows, size))
    whole = np.repeat(directions, sizes, axis=0)[:rows].astype(np.float32)
    spread = rng.choice([0.1, 0.2, 0.3, 0.4], size=(rows, 1)) * 2**0.5
    return units(rng.permutation(whole + spread * rng.normal(size=whole.shape).astype(np.float32)))


def in_cells(found: I16, rows: int, similarity: float, splits: int) -> tuple[np.ndarray, int]:
    """Which vectors lose within the cells of so many splits, and how many cells a split has."""
    count = -(-len(found) // rows)
    sample = found[: min(MOST_SAMPLED, SAMPLED * count)]
    loses = np.zeros(len(found), np.bool_)
    for centres in (means(sample, count), means(sample[::-1], count))[:splits]:
        cell = cells(found, centres)
        for one in range(len(centres)):
            mine = np.flatnonzero((cell == one) & ~loses)
            loses[mine] = stars(found[mine], similarity) != np.arange(len(mine))
    return loses, count


def write(out: Path, rows: int, size: int) -> tuple[tuple[str, str], ...]:
    """Shards of signals that pass every rule, and of scores with embeddings; families lie within a shard."""
    rng = np.random.default_rng(2)
    schema = pa.schema([*SCORES, pa.field("image_embedding", pa.list_(pa.float16()))])
    names = []
    for number, start in enumerate(range(0, rows, ROWS_A_SHARD)):
        count, name = min(ROWS_A_SHARD, rows - start), f"{number:05d}"
        flat = (vectors(count, 3 + number, size) / 4096).astype(np.float16).reshape(-1)
        known = {
            "key": pa.array([rng.bytes(16).hex() for _ in range(count)]),
            "source": pa.array(["synthetic"] * count),
            "shard": pa.array([name] * count),
            "member": pa.array([f"{start + row:010d}" for row in range(count)]),
            "caption": pa.array(["a caption"] * count),
            "caption_chars": pa.array(np.full(count, 9, np.int32)),
            "width": pa.array(rng.integers(200, 999, count), pa.int32()),
            "height": pa.array(np.full(count, 300, np.int32)),
            "clip_score": pa.array(np.full(count, 0.3, np.float32)),
            "scorer": pa.array([SCORER] * count),
            "image_embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat), size),
        }
        for kind, wanted in (("signals", SIGNALS), ("scores", schema)):
            columns = [known.get(f.name, pa.nulls(count, f.type)) for f in wanted]
            columns = [one.cast(f.type) for one, f in zip(columns, wanted, strict=True)]
            path = out / "work" / kind / "synthetic" / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_arrays(columns, schema=wanted), path)
        names.append(("synthetic", name))
    return tuple(names)


class Both(Timed):
    """Also maps."""

    def map(self, step: Step, tasks: Sequence[Json]) -> list[Json]:
        """As the engine's."""
        return self.engine.map(step, tasks)


def phase(
    out: str, names: tuple[tuple[str, str], ...], rows: int, workers: int
) -> tuple[int, Json, int, int]:
    """The phase, in a process whose memory is that of a driver alone: rows kept, seconds of the steps, peaks."""
    recipe = Recipe.model_validate(
        {
            "languages": [],
            "sources": [{"id": "synthetic", "path": "synthetic"}],
            "clip": {
                "embeddings": True,
                "allow_embedded": True,
                "scorers": {"default": {"model": "embedded"}},
            },
            "rules": {"semantic": True},
        }
    )
    engine = Both(LocalEngine(workers))
    scored = {name: {"reached": ROWS_A_SHARD, "scorers": [SCORER], "bins": {}} for name in names}
    found = select(
        engine, SelectPlan(recipe, Layout(out), names, partitions_for(rows), scored=scored, repeats=False)
    )
    engine.engine.close()
    worker = largest_child()
    return sum(one["kept"] for one in found), engine.seconds, peak(), worker


def measure(rows: int, size: int, workers: int) -> None:
    """Prints what a select of so many rows takes."""
    with tempfile.TemporaryDirectory() as folder:
        names = write(Path(folder), rows, size)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            kept, steps, driver, worker = pool.apply(phase, (folder, names, rows, workers))
    print(f"{rows:>11,} rows of {size} numbers, {kept:,} kept: ", end="")
    print(f"driver {driver / 2**20:.0f} MiB, largest worker {worker / 2**20:.0f} MiB")
    print("   ", ", ".join(f"{name} {one:.1f} s" for name, one in steps.items()))


def compare(rows: int, cell: list[int], similarity: float) -> None:
    """Prints recall, precision and CPU time beside a comparison of all with all."""
    found = vectors(rows, 1)
    start = time.process_time()
    truth = stars(found, similarity) != np.arange(len(found))
    print(
        f"{len(found):,} vectors, all with all: {truth.sum():,} lose, CPU {time.process_time() - start:.1f} s"
    )
    for one in cell:
        for splits in (1, 2):
            start = time.process_time()
            loses, count = in_cells(found, one, similarity, splits)
            both = (loses & truth).sum()
            print(f"{splits} x {count} cells of {one} rows: {loses.sum():,} lose, ", end="")
            print(f"recall {both / truth.sum():.5f}, precision {both / loses.sum():.5f}, ", end="")
            print(f"CPU {time.process_time() - start:.1f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--cell", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--similarity", type=float, default=0.95)
    parser.add_argument("--select", type=int, nargs="+", default=[])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    for rows in arguments.select:
        measure(rows, arguments.size, arguments.workers)
    if not arguments.select:
        compare(arguments.rows, arguments.cell, arguments.similarity)


if __name__ == "__main__":
    main()
