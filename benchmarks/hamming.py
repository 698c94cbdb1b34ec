"""Times the search for near hashes alone, beside faiss: CPU seconds, and recall of both against brute force.

    python -m benchmarks.hamming [--rows 10000000] [--distance 4] [--asked 200000] [--checked 300]

Needs `faiss-cpu`, which is no dependency of the project (pip install --target FOLDER faiss-cpu; PYTHONPATH=FOLDER).
Both use one thread. Ours finds the near pairs of all hashes. faiss.IndexBinaryMultiHash is filled with all of them and
asked for the neighbours of some, and its time is scaled to all, for each of the settings that find every pair at
distance 4: of three blocks of 21 bits, or four of 16, one differs in at most one bit; of five of 12 one in none. One
hash in twenty is a copy of another with up to `distance` bits changed. Recall is that of the neighbours of such copies.
"""

import argparse
import time

import faiss  # type: ignore[import-not-found,unused-ignore]
import numpy as np

from benchmarks.dedup import hashes
from filters.hamming import U64, distances, near_edges

SETTINGS = ((3, 21, 1), (4, 16, 1), (5, 12, 0))
"""Blocks, bits of each, and how many of these may differ."""


def ours(values: U64, distance: int, checked: U64) -> tuple[float, int, set[tuple[int, int]]]:
    """CPU seconds, how many pairs, and of the hashes checked all pairs that were found."""
    start = time.process_time()
    edges = list(near_edges(values, distance))
    seconds = time.process_time() - start
    left, right = (np.concatenate([edge[side] for edge in edges]) for side in (0, 1))
    found: set[tuple[int, int]] = set()
    for one, other in ((left, right), (right, left)):
        mine = np.isin(one, checked)
        found |= set(zip(one[mine].tolist(), other[mine].tolist(), strict=True))
    return seconds, len(left), found


def theirs(
    values: U64, distance: int, asked: U64, checked: U64, setting: tuple[int, int, int]
) -> tuple[float, float, set[tuple[int, int]]]:
    """CPU seconds to fill and, scaled to all hashes, to ask; and the pairs of the hashes checked."""
    faiss.omp_set_num_threads(1)
    blocks, bits, flips = setting
    index = faiss.IndexBinaryMultiHash(64, blocks, bits)
    index.nflip = flips
    start = time.process_time()
    index.add(values.view(np.uint8).reshape(-1, 8))
    filled = time.process_time()
    index.range_search(asked.view(np.uint8).reshape(-1, 8), distance + 1)
    seconds = (time.process_time() - filled) * len(values) / len(asked)
    ends, _, places = index.range_search(checked.view(np.uint8).reshape(-1, 8), distance + 1)
    queries = np.repeat(checked, np.diff(ends.astype(np.int64)))
    pairs = zip(queries.tolist(), values[places].tolist(), strict=True)
    return filled - start, seconds, {pair for pair in pairs if pair[0] != pair[1]}


def brute_force(values: U64, distance: int, checked: U64) -> set[tuple[int, int]]:
    """All pairs of the hashes checked."""
    found = set()
    for one in checked:
        near = values[distances(values, one) <= distance]
        found |= {(int(one), int(other)) for other in near if other != one}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--distance", type=int, default=4)
    parser.add_argument("--asked", type=int, default=200_000)
    parser.add_argument("--checked", type=int, default=300)
    given = parser.parse_args()
    drawn, origin = hashes(given.rows, given.distance, 1)
    copies = np.flatnonzero(origin >= 0)
    rng = np.random.default_rng(2)
    checked = np.unique(drawn[rng.choice(copies, given.checked, replace=False)])
    values = np.unique(drawn)
    asked = rng.choice(values, given.asked, replace=False)
    seconds, pairs, found = ours(values, given.distance, checked)
    print(f"{len(values):,} distinct hashes, distance {given.distance}")
    print(f"ours   {seconds:8.1f} s of CPU, {pairs:,} pairs", flush=True)
    every = brute_force(values, given.distance, checked)
    assert found <= every
    print(f"       recall {len(found) / len(every):.5f} of {len(every)} pairs")
    for setting in SETTINGS:
        filling, asking, others = theirs(values, given.distance, asked, checked, setting)
        assert others <= every
        whole = filling + asking
        blocks, bits, flips = setting
        print(f"faiss  {whole:8.1f} s of CPU ({filling:.1f} to fill, {asking:.1f} to ask, scaled)", end="; ")
        print(f"{whole / seconds:.1f} x ours, {blocks} blocks of {bits} bits, {flips} flipped", end="; ")
        print(f"recall {len(others) / len(every):.5f}", flush=True)


if __name__ == "__main__":
    main()
