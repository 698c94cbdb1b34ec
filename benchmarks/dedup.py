"""Times the dedup phase on synthetic signals: rows/s, memory of driver and workers, recall.

    python -m benchmarks.dedup [--rows 1000000 10000000] [--workers 2] [--distance 4]

A tenth of the rows (at most a million) are blank images of one hash; of the others one in twenty is
a copy of an earlier row with up to `distance` bits of its hash changed. Prints a table, a line for
each number of rows; the floor is one numpy argsort of all hashes, in memory, in the same run.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.sketch import BYTES, WORDS
from filters.table import SIGNALS
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Json, Step
from pipelines.layout import Layout
from pipelines.phases.dedup.driver import DedupPlan, dedup, partitions_for
from pipelines.phases.dedup.tables import mix

ROWS_A_SHARD = 10_000
BLANK = np.uint64(1 << 63)
COPIES = 0.05


@dataclass
class Timed:
    """An engine that notes how long each step took."""

    engine: LocalEngine
    seconds: dict[str, float] = field(default_factory=dict)

    def shuffle(self, step: Step, tasks: Sequence[Json], partitions: int) -> list[Json]:
        """As the engine's."""
        start = time.perf_counter()
        receipts = self.engine.shuffle(step, tasks, partitions)
        name = step.worker.partition(":")[2]
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return receipts


@dataclass(frozen=True)
class Figures:
    """What one run of the phase gave."""

    rows: int
    seconds: float
    steps: dict[str, float]
    driver_bytes: int
    worker_bytes: int
    recall: float
    blank: int


def hashes(rows: int, distance: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row's hash, and of which row it is a copy (-1: of none)."""
    rng = np.random.default_rng(seed)
    # half of the bits set, as in imagehash's pHash
    values = np.empty(rows, np.uint64)
    places = np.uint64(1) << np.arange(64, dtype=np.uint64)
    for start in range(0, rows, ROWS_A_SHARD):
        draws = rng.random((min(ROWS_A_SHARD, rows - start), 64), np.float32)
        halves = draws > np.median(draws, axis=1, keepdims=True)
        values[start : start + len(draws)] = (halves * places).sum(axis=1, dtype=np.uint64)
    origin = np.full(rows, -1)
    blank = rng.permutation(rows)[: min(rows // 10, 1_000_000)]
    values[blank] = BLANK
    clean = np.setdiff1d(np.arange(rows), blank)
    copies, of = np.array_split(rng.permutation(clean)[: 2 * int(len(clean) * COPIES)], 2)
    of = of[: len(copies)]
    copies = copies[: len(of)]
    flips = rng.integers(0, 64, (len(copies), distance)).astype(np.uint64)
    values[copies] = values[of] ^ np.bitwise_xor.reduce(np.uint64(1) << flips, axis=1)
    origin[copies] = of
    return values, origin


def sketches(of: np.ndarray) -> pa.Array:
    """A sketch for each row, equal for rows that show the same image."""
    words = mix(of.astype(np.uint64)[:, None] * np.uint64(WORDS) + np.arange(WORDS, dtype=np.uint64))
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(BYTES), len(of), [None, pa.py_buffer(words.tobytes())]
    )


def write_signals(
    out: Path, values: np.ndarray, origin: np.ndarray, seed: int
) -> tuple[tuple[str, str], ...]:
    """Shards of signals with keys, digests, hashes and sketches; nulls elsewhere."""
    rng = np.random.default_rng(seed)
    folder = out / "work" / "signals" / "synthetic"
    folder.mkdir(parents=True)
    names = []
    shown = np.where(values == BLANK, -1, np.where(origin >= 0, origin, np.arange(len(values))))
    for number, start in enumerate(range(0, len(values), ROWS_A_SHARD)):
        part = values[start : start + ROWS_A_SHARD]
        digests = [rng.bytes(32).hex() for _ in part]
        name = f"{number:05d}"
        known = {
            "key": pa.array([rng.bytes(16).hex() for _ in part]),
            "source": pa.array(["synthetic"] * len(part)),
            "shard": pa.array([name] * len(part)),
            "member": pa.array([f"{start + i:010d}" for i in range(len(part))]),
            "sha256": pa.array(digests),
            "pixels": pa.array([digest[:32] for digest in digests]),
            "phash": pa.array(part),
            "sketch": sketches(shown[start : start + len(part)]),
        }
        columns = [known.get(f.name, pa.nulls(len(part), f.type)) for f in SIGNALS]
        pq.write_table(pa.table(columns, schema=SIGNALS), folder / f"{name}.parquet")
        names.append(("synthetic", name))
    return tuple(names)


def recall(out: Path, rows: int, origin: np.ndarray) -> tuple[float, int]:
    """Share of the copies that share a cluster with their original; rows in the largest cluster."""
    cluster = np.zeros(rows, "S32")
    for path in sorted((out / "work" / "clusters").rglob("*.parquet")):
        table = pq.ParquetFile(path).read(["member", "kind", "cluster"])
        table = table.filter(pc.equal(table["kind"], pa.scalar("phash")))
        cluster[table["member"].cast(pa.int64()).to_numpy()] = table["cluster"].to_numpy()
    copies = np.flatnonzero(origin >= 0)
    same = (cluster[copies] == cluster[origin[copies]]) & (cluster[copies] != b"")
    _, sizes = np.unique(cluster[cluster != b""], return_counts=True)
    return float(same.mean()), int(sizes.max())


def peak() -> int:
    """Peak resident bytes of this process; the usage of the system would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def largest_child() -> int:
    """Peak resident bytes of the largest child that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def run(out: str, names: tuple[tuple[str, str], ...], workers: int, distance: int) -> tuple[Json, ...]:
    """The phase, in a process whose memory is that of a driver alone."""
    engine = Timed(LocalEngine(workers))
    rows = len(names) * ROWS_A_SHARD
    plan = DedupPlan(Layout(out), names, distance, partitions=partitions_for(rows))
    start = time.perf_counter()
    dedup(engine, plan)
    seconds = time.perf_counter() - start
    engine.engine.close()
    sizes = {"driver": peak(), "workers": largest_child()}
    return engine.seconds, sizes, {"seconds": seconds}


def measure(rows: int, workers: int, distance: int, seed: int, folder: Path) -> Figures:
    """One line of the table."""
    values, origin = hashes(rows, distance, seed)
    start = time.perf_counter()
    np.argsort(values)
    floor = time.perf_counter() - start
    names = write_signals(folder, values, origin, seed)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        steps, sizes, whole = pool.apply(run, (str(folder), names, workers, distance))
    found, blank = recall(folder, rows, origin)
    steps = {"floor (argsort)": floor, **steps}
    return Figures(rows, whole["seconds"], steps, sizes["driver"], sizes["workers"], found, blank)


def report(all_figures: Sequence[Figures]) -> None:
    """Print the table, and the driver's growth between the first line and the last."""
    for f in all_figures:
        steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in f.steps.items())
        print(f"{f.rows:>11,} rows  {f.seconds:7.1f} s  {f.rows / f.seconds:>9,.0f} rows/s")
        print(f"    driver {f.driver_bytes / 2**20:.0f} MiB, largest worker {f.worker_bytes / 2**20:.0f} MiB")
        print(f"    recall of copies {f.recall:.5f}, largest cluster {f.blank:,} rows")
        print(f"    {steps}")
    first, last = all_figures[0], all_figures[-1]
    if last.rows > first.rows:
        grown = (last.driver_bytes - first.driver_bytes) / (last.rows - first.rows)
        print(f"driver grows by {grown:.2f} bytes a row")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--distance", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    figures = []
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            figures.append(measure(rows, arguments.workers, arguments.distance, arguments.seed, Path(folder)))
        report(figures[-1:])
        sys.stdout.flush()
    if len(figures) > 1:
        print("\nall")
        report(figures)


if __name__ == "__main__":
    main()
