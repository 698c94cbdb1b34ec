"""Shuffles made shards on this machine: pieces, seconds, memory of driver and workers.

    python -m benchmarks.shuffle [--shards 1000 10000 50000] [--partitions 10000] [--rows 1000] [--workers 2]

Every shard sends `rows` rows of two numbers, spread over all partitions. A line for each number of shards: the most
pieces that the shuffle may have are 4 x (bytes / 8 MiB) + tasks.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.usage import largest_child, peak
from pipelines.engines.local import LocalEngine, Pieces
from pipelines.engines.step import At, Json, Piece, Step
from pipelines.layout import Layout
from pipelines.phases.dedup.tables import mix, sent

PIECE = 8 * 2**20


class Made:
    """Shuffles the rows of made shards; counts them."""

    def __init__(self, setup: Json) -> None:
        self._rows = int(setup["rows"])
        self._partitions = int(setup["partitions"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """Returns the shard's rows."""
        numbers = np.arange(self._rows, dtype=np.uint64) + np.uint64(task["number"] * self._rows)
        yield sent({"number": numbers, "value": mix(numbers)}, numbers, self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Returns the partition's rows."""
        return {"rows": table.num_rows, "sum": int(table["number"].to_numpy().sum(dtype=np.uint64))}


class Counting(LocalEngine):
    """Counts the pieces that partitions are made of."""

    pieces = 0

    def _reduce_pieces(self, step: Step, pieces: list[tuple[int, Pieces]]) -> list[Json]:
        self.pieces += sum(len(numbers) for _, files in pieces for _, numbers in files)
        return super()._reduce_pieces(step, pieces)


@dataclass(frozen=True)
class Figures:
    """What one shuffle gave."""

    pieces: int
    seconds: float
    driver_bytes: int
    worker_bytes: int


def run(shards: int, partitions: int, rows: int, workers: int, folder: str) -> Figures:
    """One shuffle, in a process whose memory is that of a driver alone. Raises ValueError where rows are lost."""
    engine = Counting(workers)
    engine.open(Layout(folder))
    step = Step("shuffle", "benchmarks.shuffle:Made", {"rows": rows, "partitions": partitions})
    start = time.perf_counter()
    tasks: list[Json] = [{"number": number} for number in range(shards)]
    receipts = engine.shuffle(step, tasks, partitions)
    seconds = time.perf_counter() - start
    engine.close()
    total = shards * rows
    if sum(one["rows"] for one in receipts) != total or sum(one["sum"] for one in receipts) != (
        total * (total - 1) // 2
    ):
        raise ValueError("a shuffle lost rows")
    return Figures(engine.pieces, seconds, peak(), largest_child())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    asked: Any = parser.parse_args()
    for shards in asked.shards:
        with (
            tempfile.TemporaryDirectory() as folder,
            multiprocessing.get_context("spawn").Pool(1) as pool,
        ):
            found = pool.apply(run, (shards, asked.partitions, asked.rows, asked.workers, folder))
        size = shards * asked.rows * 16
        most = 4 * size // PIECE + shards
        print(
            f"{shards:>7,} shards x {asked.partitions:,} partitions, {size / 2**20:,.0f} MiB: {found.pieces:,} pieces "
            f"(at most {most:,}), {found.seconds:.1f} s, driver {found.driver_bytes / 2**20:.0f} MiB, "
            f"largest worker {found.worker_bytes / 2**20:.0f} MiB"
        )


if __name__ == "__main__":
    main()
