"""Times the dedup phase on synthetic signals: CPU and clock, memory of driver and workers, recall.

    python -m benchmarks.dedup [--rows 1000000 10000000] [--workers 2] [--distance 4] [--folder DIR]
    python -m benchmarks.dedup --evaluation [--rounds 40]

A tenth of the rows (at most a million) are blank images of one hash; of the others one in twenty is
a copy of an earlier row with up to `distance` bits of its hash changed. Prints a table, a line for
each number of rows; the floor is one numpy argsort of all hashes, in memory, in the same run. A step's memory is the
peak of the largest worker up to its end. All files lie below `--folder` (else the system's temporary folder), which is
empty again at the end: signals, whose sketches pack far better than those of real images, and, looked at each second,
what dedup itself leaves there at most: what passes between and within its steps, and the clusters.

With `--evaluation`: what protection of evaluation images adds to the CPU time of dedup in this process, for 20,000
training and 2,000 evaluation rows, as the median over rounds with and without it in turn. One training row in twenty
is a copy of an evaluation image with up to six bits of its hash changed.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.usage import cpu_of_children, largest_child, peak
from filters.sketch import BYTES, WORDS
from filters.table import SIGNALS
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Json, Step
from pipelines.layout import Layout, Name
from pipelines.phases.dedup.driver import DedupPlan, dedup, partitions_for
from pipelines.phases.dedup.tables import key_words, keys_of, mix

ROWS_A_SHARD = 10_000
TRAINING, EVALUATION, ROWS_A_SMALL_SHARD = 20_000, 2_000, 2_500
BLANK = np.uint64(1 << 63)
COPIES = 0.05
SEEDS = 1_000
"""A seed is this many seeds for as many purposes."""


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
    signal_bytes: int
    disk_bytes: int
    recall: float
    blank: int


@dataclass(frozen=True)
class Crawl:
    """Rows made by their numbers alone, so that any process makes any shard of them.

    A permutation of the rows says which are blank, and which a copy of which other one.
    """

    rows: int
    distance: int
    seed: int

    @property
    def blank(self) -> int:
        """How many rows show the blank image."""
        return min(self.rows // 10, 1_000_000)

    @property
    def copies(self) -> int:
        """How many rows are copies of others."""
        return int((self.rows - self.blank) * COPIES)

    @property
    def _step(self) -> int:
        """A number without a common factor with that of the rows: its multiples are a permutation of them."""
        step = int(self.rows * 0.618) | 1
        while gcd(step, self.rows) > 1:
            step += 2
        return step

    def row(self, rank: np.ndarray) -> np.ndarray:
        """Which row has a place in the permutation."""
        found: np.ndarray = rank * pow(self._step, -1, self.rows) % self.rows
        return found

    def images(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """The hashes of rows, and of each a number that is equal for those that show the same image."""
        shown = np.arange(first, last)
        rank = shown * self._step % self.rows
        copy = (rank >= self.blank) & (rank < self.blank + self.copies)
        shown[copy] = self.row(rank[copy] + self.copies)
        values = balanced(shown, SEEDS * self.seed + 100)
        flips = np.flatnonzero(copy)
        for draw in range(self.distance):
            number = mixed(flips + first, SEEDS * self.seed + 10 + draw) & np.uint64(63)
            values[flips] ^= np.uint64(1) << number
        values[rank < self.blank], shown[rank < self.blank] = BLANK, -1
        return values, shown

    def originals(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows that are copies, and of which row each is one."""
        rank = np.arange(self.blank, self.blank + self.copies)
        return self.row(rank), self.row(rank + self.copies)


def mixed(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Random numbers, one for each number."""
    return mix(mix(numbers.astype(np.uint64)) + mix(np.full(1, seed, np.uint64)))


def balanced(images: np.ndarray, seed: int) -> np.ndarray:
    """A random hash for each image, with half of its bits set as in imagehash's pHash."""
    values = mixed(images, seed)
    draws = values.copy()
    while len(left := np.flatnonzero(np.bitwise_count(values) != 32)):
        draws[left] = mix(draws[left] + np.uint64(1))
        bit = np.uint64(1) << (draws[left] & np.uint64(63))
        above = np.bitwise_count(values[left]) > 32
        values[left] ^= np.where((values[left] & bit != 0) == above, bit, np.uint64(0))
    return values


def sketches(of: np.ndarray) -> pa.Array:
    """A sketch for each row, equal for rows that show the same image; one word again and again, which packs well."""
    words = np.repeat(mix(of.astype(np.uint64)), WORDS)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(BYTES), len(of), [None, pa.py_buffer(words.tobytes())]
    )


@dataclass(frozen=True)
class Shard:
    """A shard of signals to be written: its source, its number, and the number of its first row."""

    source: str
    number: int
    first: int

    @property
    def name(self) -> str:
        """The shard's name."""
        return f"{self.number:06d}"


def write_shard(out: Path, shard: Shard, values: np.ndarray, shown: np.ndarray, seed: int) -> Name:
    """Writes signals with keys, digests, hashes and sketches; nulls elsewhere."""
    rows = np.arange(shard.first, shard.first + len(values))
    digests = [keys_of(*(mixed(rows, SEEDS * seed + word + half) for half in range(2))) for word in (0, 2, 4)]
    known = {
        "key": digests[0],
        "source": pa.array([shard.source] * len(values)),
        "shard": pa.array([shard.name] * len(values)),
        "member": pc.utf8_lpad(pa.array(rows).cast(pa.string()), 10, "0"),
        "sha256": pc.binary_join_element_wise(*digests[1:], ""),
        "pixels": digests[1],
        "phash": pa.array(values),
        "sketch": sketches(shown),
    }
    columns = [known.get(f.name, pa.nulls(len(values), f.type)) for f in SIGNALS]
    path = out / "work" / "signals" / shard.source / f"{shard.name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table(columns, schema=SIGNALS), path, compression="zstd", use_dictionary=["source", "shard"]
    )
    return shard.source, shard.name


def write_crawl(out: str, crawl: Crawl, number: int) -> Name:
    """Writes the signals of one shard of the crawl."""
    first = number * ROWS_A_SHARD
    images = crawl.images(first, min(first + ROWS_A_SHARD, crawl.rows))
    return write_shard(Path(out), Shard("synthetic", number, first), *images, crawl.seed)


def write_signals(
    out: Path, source: str, values: np.ndarray, shown: np.ndarray, seed: int
) -> tuple[Name, ...]:
    """Writes the signals of a small source, shard by shard."""
    starts = range(0, len(values), ROWS_A_SMALL_SHARD)
    return tuple(
        write_shard(
            out,
            Shard(source, number, start),
            values[start : start + ROWS_A_SMALL_SHARD],
            shown[start : start + ROWS_A_SMALL_SHARD],
            seed,
        )
        for number, start in enumerate(starts)
    )


def recall(out: Path, crawl: Crawl) -> tuple[float, int]:
    """Share of the copies that share a cluster with their original; rows in the largest cluster."""
    cluster = np.zeros(crawl.rows, np.uint64)
    for path in sorted((out / "work" / "clusters").rglob("*.parquet")):
        table = pq.ParquetFile(path).read(["member", "kind", "cluster"])
        table = table.filter(pc.equal(table["kind"], pa.scalar("phash")))
        members = table["member"].cast(pa.int64()).to_numpy()
        cluster[members] = key_words(table["cluster"].combine_chunks())[0]
    copies, of = crawl.originals()
    same = (cluster[copies] == cluster[of]) & (cluster[copies] != 0)
    _, sizes = np.unique(cluster[cluster != 0], return_counts=True)
    return float(same.mean()), int(sizes.max())


def bytes_below(folder: str | Path) -> int:
    """What the files below a folder take on the disk."""
    found = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            # what was there a moment ago may be gone
            with suppress(FileNotFoundError):
                found += (
                    bytes_below(entry.path)
                    if entry.is_dir(follow_symlinks=False)
                    else entry.stat().st_blocks * 512
                )
    return found


class Disk:
    """Looks again and again at what lies below a folder; `most` is the most that was found."""

    def __init__(self, folder: Path) -> None:
        self.most = 0
        self._folder = folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Disk":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(1):
            self.most = max(self.most, bytes_below(self._folder))


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


def run(out: str, names: tuple[Name, ...], crawl: Crawl, workers: int) -> tuple[Json, ...]:
    """The phase, in a process whose memory is that of a driver alone."""
    engine = Timed(LocalEngine(workers))
    layout = Layout(out)
    engine.engine.open(layout)
    plan = DedupPlan(layout, names, crawl.distance, partitions=partitions_for(crawl.rows))
    start, before = time.perf_counter(), time.process_time()
    dedup(engine, plan)
    seconds, driver = time.perf_counter() - start, time.process_time() - before
    engine.engine.close()
    sizes = {"driver": peak(), "workers": largest_child()}
    whole = {"seconds": seconds, "driver": driver, "workers": cpu_of_children()}
    steps = {
        name: f"{seconds:.1f} s {engine.peaks[name] / 2**20:.0f} MiB"
        for name, seconds in engine.seconds.items()
    }
    return steps, sizes, whole


def measure(crawl: Crawl, workers: int, folder: Path) -> Figures:
    """One line of the table."""
    numbers = np.random.default_rng(crawl.seed).integers(0, 1 << 64, crawl.rows, np.uint64)
    start = time.perf_counter()
    np.argsort(numbers)
    floor = time.perf_counter() - start
    del numbers
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers) as pool:
        shards = range(-(-crawl.rows // ROWS_A_SHARD))
        names = tuple(pool.starmap(write_crawl, [(str(folder), crawl, number) for number in shards]))
    signals = bytes_below(folder)
    with spawn.Pool(1) as pool, Disk(folder) as disk:
        steps, sizes, whole = pool.apply(run, (str(folder), names, crawl, workers))
    found, blank = recall(folder, crawl)
    steps = {"floor (argsort)": f"{floor:.1f} s", **steps}
    times = (whole["seconds"], whole["driver"], whole["workers"], os.getloadavg()[1])
    of_disk = (signals, max(disk.most - signals, 0))
    return Figures(crawl.rows, *times, steps, sizes["driver"], sizes["workers"], *of_disk, found, blank)


def report(all_figures: Sequence[Figures]) -> None:
    """Print the table, and the driver's growth between the first line and the last."""
    for f in all_figures:
        steps = ", ".join(f"{name} {figures}" for name, figures in f.steps.items())
        print(
            f"{f.rows:>11,} rows  {f.seconds:7.1f} s  {f.rows / f.seconds:>9,.0f} rows/s  load {f.load:.1f}"
        )
        print(f"    CPU: workers {f.worker_cpu:.1f} s, driver {f.driver_cpu:.2f} s")
        print(f"    driver {f.driver_bytes / 2**20:.0f} MiB, largest worker {f.worker_bytes / 2**20:.0f} MiB")
        print(
            f"    disk: signals {f.signal_bytes / 1e9:.1f} GB, beside them at most {f.disk_bytes / 1e9:.1f} GB"
        )
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
        names = write_signals(Path(folder), "web", values, shown, seed)
        names += write_signals(Path(folder), "bench", held, np.arange(EVALUATION), seed + 10)

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
            crawl = Crawl(rows, arguments.distance, arguments.seed)
            figures.append(measure(crawl, arguments.workers, Path(folder)))
        report(figures[-1:])
        sys.stdout.flush()
    if len(figures) > 1:
        print("\nall")
        report(figures)


if __name__ == "__main__":
    main()
