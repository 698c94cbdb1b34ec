"""Times clusters of captions on synthetic signals: rows/s, memory of driver and workers, recall of planted copies.

    python -m benchmarks.same_captions [--rows 100000 1000000] [--workers 2] [--similarity 0.8]
    python -m benchmarks.same_captions --against 20000        stars against a comparison of all captions with all

A tenth of the rows has one of twenty captions; one in twenty is a copy of another caption with one letter changed; the
others are twelve words of a made dictionary.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from benchmarks.dedup import ROWS_A_SHARD, Timed
from benchmarks.usage import largest_child, peak
from filters.minhash import grams, jaccard, normalised
from filters.table import SIGNALS
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Json
from pipelines.layout import Layout
from pipelines.phases.dedup.driver import DedupPlan, dedup, partitions_for

ALPHABET = np.array([*"abcdefghijklmnopqrstuvwxyz"])
BOILERPLATES = 20


def captions(rows: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Each row's caption, and of which row it is a copy (-1: of none)."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(ALPHABET, rng.integers(2, 9))) for _ in range(20_000)]
    texts = [" ".join(words[word] for word in row) for row in rng.integers(0, len(words), (rows, 12))]
    order = rng.permutation(rows)
    for place in order[: rows // 10]:
        texts[place] = f"click here to enlarge image number {place % BOILERPLATES} of our catalogue"
    copies, of = np.array_split(order[rows // 10 :][: 2 * (rows // 20)], 2)
    origin = np.full(rows, -1)
    origin[copies] = of[: len(copies)]
    for place in copies:
        text = texts[origin[place]]
        at = int(rng.integers(len(text)))
        texts[place] = text[:at] + "é" + text[at + 1 :]
    return texts, origin


def write_signals(out: Path, texts: list[str], seed: int) -> tuple[tuple[str, str], ...]:
    """Shards of signals with keys and captions alone."""
    rng = np.random.default_rng(seed)
    folder = out / "work" / "signals" / "synthetic"
    folder.mkdir(parents=True)
    names = []
    for number, start in enumerate(range(0, len(texts), ROWS_A_SHARD)):
        part, name = texts[start : start + ROWS_A_SHARD], f"{number:05d}"
        known = {
            "key": pa.array([rng.bytes(16).hex() for _ in part]),
            "source": pa.array(["synthetic"] * len(part)),
            "shard": pa.array([name] * len(part)),
            "member": pa.array([f"{start + i:010d}" for i in range(len(part))]),
            "caption": pa.array(part),
        }
        columns = [known.get(f.name, pa.nulls(len(part), f.type)) for f in SIGNALS]
        pq.write_table(pa.table(columns, schema=SIGNALS), folder / f"{name}.parquet")
        names.append(("synthetic", name))
    return tuple(names)


def run(
    out: str, names: tuple[tuple[str, str], ...], rows: int, workers: int, similarity: float
) -> tuple[float, Json, int, int]:
    """The phase, in a process whose memory is that of a driver alone: seconds, steps, peaks."""
    engine = Timed(LocalEngine(workers))
    plan = DedupPlan(
        Layout(out),
        names,
        distance=None,
        captions=frozenset({"synthetic"}),
        similarity=similarity,
        partitions=partitions_for(rows),
    )
    start = time.perf_counter()
    dedup(engine, plan)
    seconds = time.perf_counter() - start
    engine.engine.close()
    return (
        seconds,
        engine.seconds,
        peak(),
        largest_child(),
    )


def clusters(out: Path) -> pa.Table:
    """All memberships in clusters of captions."""
    tables = [pq.ParquetFile(path).read() for path in sorted((out / "work" / "clusters").rglob("*.parquet"))]
    table = pa.concat_tables(tables)
    return table.filter(pc.equal(table["kind"], pa.scalar("caption")))


def measure(rows: int, workers: int, similarity: float) -> None:
    """Prints one line of the table."""
    texts, origin = captions(rows, 1)
    with tempfile.TemporaryDirectory() as folder:
        names = write_signals(Path(folder), texts, 2)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, steps, driver, worker = pool.apply(run, (folder, names, rows, workers, similarity))
        found = clusters(Path(folder))
    cluster = np.zeros(rows, "S32")
    cluster[found["member"].cast(pa.int64()).to_numpy()] = found["cluster"].to_numpy()
    copies = np.flatnonzero(origin >= 0)
    same = (cluster[copies] == cluster[origin[copies]]) & (cluster[copies] != b"")
    index = jaccard(
        normalised(pa.array([texts[place] for place in copies[:2000]])).to_pylist(),
        normalised(pa.array([texts[place] for place in origin[copies][:2000]])).to_pylist(),
    )
    print(f"{rows:>11,} rows  {seconds:7.1f} s  {rows / seconds:>9,.0f} rows/s")
    print(f"    driver {driver / 2**20:.0f} MiB, largest worker {worker / 2**20:.0f} MiB")
    print(f"    planted copies in the cluster of their original {same.mean():.5f}; ", end="")
    print(f"planted copies that are so similar {(index >= similarity).mean():.5f}")
    print("   ", ", ".join(f"{name} {one:.1f} s" for name, one in steps.items()))


def against(rows: int, similarity: float) -> None:
    """Prints recall and precision of memberships against stars of a comparison of all captions with all."""
    texts, _ = captions(rows, 3)
    with tempfile.TemporaryDirectory() as folder:
        names = write_signals(Path(folder), texts, 4)
        run(folder, names, rows, 2, similarity)
        table = clusters(Path(folder))
        keys = [
            key
            for _, name in names
            for key in pq.ParquetFile(Path(folder) / f"work/signals/synthetic/{name}.parquet")
            .read(["key"])["key"]
            .to_pylist()
        ]
    found = set(zip(map(int, table["member"].to_pylist()), table["cluster"].to_pylist(), strict=True))
    centres = stars(keys, normalised(pa.array(texts)).to_pylist(), similarity)
    sizes = Counter(centres.values())
    truth = {(row, keys[centre]) for row, centre in centres.items() if sizes[centre] > 1}
    both = len(found & truth)
    print(
        f"{rows:,} captions, similarity {similarity}: memberships {len(found):,}, by brute force {len(truth):,}"
    )
    print(f"    recall {both / len(truth):.5f}, precision {both / len(found):.5f}")


def stars(keys: list[str], texts: list[str], similarity: float) -> dict[int, int]:
    """The star of each caption: by key, the first that is in none takes all that are similar."""
    hashes, starts = grams(texts)
    names, columns = np.unique(hashes, return_inverse=True)
    pointer = np.append(starts, len(hashes))
    sets = csr_array((np.ones(len(hashes), np.int32), columns, pointer), shape=(len(texts), len(names)))
    sets.sum_duplicates()
    sets.data[:] = 1
    size = np.diff(sets.indptr)
    near: list[np.ndarray] = []
    for start in range(0, len(texts), 500):
        shared = (sets[start : start + 500] @ sets.T).tocsr()
        for row in range(shared.shape[0]):
            at = slice(shared.indptr[row], shared.indptr[row + 1])
            others, both = shared.indices[at], shared.data[at]
            near.append(others[both >= similarity * (size[start + row] + size[others] - both)])
    centres: dict[int, int] = {}
    for row in sorted(range(len(texts)), key=lambda row: keys[row]):
        if row not in centres:
            centres |= {int(other): row for other in near[row] if int(other) not in centres}
    return centres


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--similarity", type=float, default=0.8)
    parser.add_argument("--against", type=int)
    arguments = parser.parse_args()
    if arguments.against:
        against(arguments.against, arguments.similarity)
        return
    for rows in arguments.rows:
        measure(rows, arguments.workers, arguments.similarity)


if __name__ == "__main__":
    main()
