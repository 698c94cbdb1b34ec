"""Times the dedup phase on synthetic signals: CPU and clock, memory of driver and workers, recall.

    python -m benchmarks.dedup [--rows 1000000 10000000] [--workers 2] [--distance 4] [--folder DIR]
    python -m benchmarks.dedup --evaluation [--rounds 40]

A tenth of the rows (at most a million) are blank images of one hash; of the others one in twenty is
a copy of an earlier row with up to `distance` bits of its hash changed. Prints a table, a line for
each number of rows; the floor is one numpy argsort of all hashes, in memory, in the same run. A step's memory is the
peak of the largest worker up to its end. The signals lie below `--folder` (else the system's temporary folder),
about 370 bytes a row; it is empty again at the end.

With `--evaluation`: what protection of evaluation images adds to the CPU time of dedup in this process, for 20,000
training and 2,000 evaluation rows, as the median over rounds with and without it in turn. One training row in twenty
is a copy of an evaluation image with up to six bits of its hash changed.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
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
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Json, Step
from pipelines.layout import Layout, Name
from pipelines.phases.dedup.driver import DedupPlan, dedup, partitions_for
from pipelines.phases.dedup.tables import mix

ROWS_A_SHARD = 10_000
TRAINING, EVALUATION, ROWS_A_SMALL_SHARD = 20_000, 2_000, 2_500
BLANK = np.uint64(1 << 63)
COPIES = 0.05


@dataclass
class Timed:
    """An engine that notes how long each step took, and the peak memory of its largest worker so far."""

    engine: LocalEngine
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def shuffle(self, step: Step, tasks: Sequence[Json], partitions: int) -> list[Json]:
        """As the engine's."""
        start = time.perf_counter()
        receipts = self.engine.shuffle(step, tasks, partitions)
        name = step.worker.partition(":")[2]
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.peaks[name] = max(map(peak, descendants()), default=0)
        return receipts


@dataclass(frozen=True)
class Figures:
    """What one run of the phase gave."""

    rows: int
    seconds: float
    driver_cpu: float
    worker_cpu: float
    load: float
    steps: dict[str, str]
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


@dataclass(frozen=True)
class Images:
    """Images of a source: each one's hash, and a number that is equal for those that show the same."""

    source: str
    values: np.ndarray
    shown: np.ndarray


def write_signals(out: Path, images: Images, seed: int, rows: int = ROWS_A_SHARD) -> tuple[Name, ...]:
    """Shards of signals with keys, digests, hashes and sketches; nulls elsewhere."""
    rng = np.random.default_rng(seed)
    folder = out / "work" / "signals" / images.source
    folder.mkdir(parents=True)
    names = []
    for number, start in enumerate(range(0, len(images.values), rows)):
        part = images.values[start : start + rows]
        digests = [rng.bytes(32).hex() for _ in part]
        name = f"{number:05d}"
        known = {
            "key": pa.array([rng.bytes(16).hex() for _ in part]),
            "source": pa.array([images.source] * len(part)),
            "shard": pa.array([name] * len(part)),
            "member": pa.array([f"{start + i:010d}" for i in range(len(part))]),
            "sha256": pa.array(digests),
            "pixels": pa.array([digest[:32] for digest in digests]),
            "phash": pa.array(part),
            "sketch": sketches(images.shown[start : start + len(part)]),
        }
        columns = [known.get(f.name, pa.nulls(len(part), f.type)) for f in SIGNALS]
        pq.write_table(pa.table(columns, schema=SIGNALS), folder / f"{name}.parquet")
        names.append((images.source, name))
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


def peak(process: int | str = "self") -> int:
    """Peak resident bytes of a process; the usage of the system would count its parent's too."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def descendants() -> list[int]:
    """The processes that this one started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        parents.setdefault(parent, []).append(int(status.parent.name))
    found, todo = [], [os.getpid()]
    while todo:
        todo += (children := parents.get(todo.pop(), []))
        found += children
    return found


def largest_child() -> int:
    """Peak resident bytes of the largest child that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def run(out: str, names: tuple[Name, ...], workers: int, distance: int) -> tuple[Json, ...]:
    """The phase, in a process whose memory is that of a driver alone."""
    engine = Timed(LocalEngine(workers))
    rows = len(names) * ROWS_A_SHARD
    plan = DedupPlan(Layout(out), names, distance, partitions=partitions_for(rows))
    start, before = time.perf_counter(), time.process_time()
    dedup(engine, plan)
    seconds, driver = time.perf_counter() - start, time.process_time() - before
    engine.engine.close()
    sizes = {"driver": peak(), "workers": largest_child()}
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = {"seconds": seconds, "driver": driver, "workers": workers.ru_utime + workers.ru_stime}
    steps = {
        name: f"{seconds:.1f} s {engine.peaks[name] / 2**20:.0f} MiB"
        for name, seconds in engine.seconds.items()
    }
    return steps, sizes, whole


def measure(rows: int, workers: int, distance: int, seed: int, folder: Path) -> Figures:
    """One line of the table."""
    values, origin = hashes(rows, distance, seed)
    start = time.perf_counter()
    np.argsort(values)
    floor = time.perf_counter() - start
    shown = np.where(values == BLANK, -1, np.where(origin >= 0, origin, np.arange(rows)))
    names = write_signals(folder, Images("synthetic", values, shown), seed)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        steps, sizes, whole = pool.apply(run, (str(folder), names, workers, distance))
    found, blank = recall(folder, rows, origin)
    steps = {"floor (argsort)": f"{floor:.1f} s", **steps}
    times = (whole["seconds"], whole["driver"], whole["workers"], os.getloadavg()[1])
    return Figures(rows, *times, steps, sizes["driver"], sizes["workers"], found, blank)


def report(all_figures: Sequence[Figures]) -> None:
    """Print the table, and the driver's growth between the first line and the last."""
    for f in all_figures:
        steps = ", ".join(f"{name} {figures}" for name, figures in f.steps.items())
        print(
            f"{f.rows:>11,} rows  {f.seconds:7.1f} s  {f.rows / f.seconds:>9,.0f} rows/s  load {f.load:.1f}"
        )
        print(f"    CPU: workers {f.worker_cpu:.1f} s, driver {f.driver_cpu:.2f} s")
        print(f"    driver {f.driver_bytes / 2**20:.0f} MiB, largest worker {f.worker_bytes / 2**20:.0f} MiB")
        print(f"    recall of copies {f.recall:.5f}, largest cluster {f.blank:,} rows")
        print(f"    {steps}")
    first, last = all_figures[0], all_figures[-1]
    if last.rows > first.rows:
        grown = (last.driver_bytes - first.driver_bytes) / (last.rows - first.rows)
        cpu = (last.worker_cpu + last.driver_cpu) / (first.worker_cpu + first.driver_cpu)
        print(f"driver grows by {grown:.2f} bytes a row")
        print(f"{last.rows / first.rows:.0f} times the rows take {cpu:.1f} times the CPU")


def protection(rounds: int, seed: int) -> None:
    """Print what the protection of evaluation images adds to the CPU time of dedup, in this process."""
    rng = np.random.default_rng(seed)
    held, values = (rng.integers(0, 1 << 64, rows, np.uint64) for rows in (EVALUATION, TRAINING))
    shown = np.arange(EVALUATION, EVALUATION + TRAINING)
    copies, of = rng.permutation(TRAINING)[: TRAINING // 20], rng.integers(0, EVALUATION, TRAINING // 20)
    flips = np.uint64(1) << rng.integers(0, 64, (len(copies), 6), np.uint64)
    flips[rng.random(flips.shape) < 0.4] = 0
    values[copies], shown[copies] = held[of] ^ np.bitwise_xor.reduce(flips, axis=1), of
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(folder)
        small = ROWS_A_SMALL_SHARD
        names = write_signals(Path(folder), Images("web", values, shown), seed, small)
        names += write_signals(Path(folder), Images("bench", held, np.arange(EVALUATION)), seed + 1, small)

        def seconds(evaluation: dict[str, bool]) -> float:
            engine = InlineEngine()
            engine.open(layout)
            start = time.process_time()
            dedup(engine, DedupPlan(layout, names, evaluation=evaluation))
            return time.process_time() - start

        ways: tuple[dict[str, bool], ...] = ({}, {"bench": True})
        figures = []
        for number in range(rounds + 1):
            figures.append({len(way): seconds(way) for way in ways[:: 1 if number % 2 else -1]})
    # the first round reads modules and files for the first time
    without = statistics.median(one[0] for one in figures[1:])
    added = statistics.median(one[1] - one[0] for one in figures[1:])
    print(f"{TRAINING:,} training and {EVALUATION:,} evaluation rows, median of {rounds} rounds in turn")
    print(f"dedup {without * 1e3:.1f} ms of CPU, protection {added * 1e3:.1f} ms more: {added / without:.1%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--distance", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where the signals lie while it runs")
    parser.add_argument("--evaluation", action="store_true", help="time the protection of evaluation images")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    if arguments.evaluation:
        protection(arguments.rounds, arguments.seed)
        return
    figures = []
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            figures.append(measure(rows, arguments.workers, arguments.distance, arguments.seed, Path(folder)))
        report(figures[-1:])
        sys.stdout.flush()
    if len(figures) > 1:
        print("\nall")
        report(figures)


if __name__ == "__main__":
    main()
