"""Rows with like embeddings: losers and keepers against a comparison of all with all, and what it costs.

    python -m benchmarks.semantic [--rows 20000] [--cell 100 1000] [--similarity 0.95]

Vectors of 512 numbers in families of one to six around random directions, which lie in 200 themes.
"""

import argparse
import time

import numpy as np

from filters.semantic import I16, cells, means, stars, units
from pipelines.phases.select.semantic import MOST_SAMPLED, SAMPLED

SIZE = 512
THEMES = 200


def vectors(rows: int, seed: int) -> I16:
    """Vectors in a drawn order."""
    rng = np.random.default_rng(seed)
    themes = rng.normal(size=(THEMES, SIZE))
    sizes = rng.integers(1, 7, rows)
    directions = themes[rng.integers(0, THEMES, rows)] + rng.normal(size=(rows, SIZE))
    whole = np.repeat(directions, sizes, axis=0)[:rows].astype(np.float32)
    spread = rng.choice([0.1, 0.2, 0.3, 0.4], size=(rows, 1)) * 2**0.5
    return units(rng.permutation(whole + spread * rng.normal(size=whole.shape).astype(np.float32)))


def in_cells(found: I16, rows: int, similarity: float) -> tuple[np.ndarray, int]:
    """Which vectors lose within the cells of k-means, and how many cells there are."""
    count = -(-len(found) // rows)
    centres = means(found[: min(MOST_SAMPLED, SAMPLED * count)], count)
    cell = cells(found, centres)
    loses = np.zeros(len(found), np.bool_)
    for one in range(len(centres)):
        mine = np.flatnonzero(cell == one)
        loses[mine] = stars(found[mine], similarity) != np.arange(len(mine))
    return loses, len(centres)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--cell", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--similarity", type=float, default=0.95)
    arguments = parser.parse_args()
    found = vectors(arguments.rows, 1)
    start = time.process_time()
    truth = stars(found, arguments.similarity) != np.arange(len(found))
    print(
        f"{len(found):,} vectors, all with all: {truth.sum():,} lose, CPU {time.process_time() - start:.1f} s"
    )
    for rows in arguments.cell:
        start = time.process_time()
        loses, count = in_cells(found, rows, arguments.similarity)
        both = (loses & truth).sum()
        print(
            f"cells of {rows} rows ({count}): {loses.sum():,} lose, recall {both / truth.sum():.5f}, ", end=""
        )
        print(f"precision {both / loses.sum():.5f}, CPU {time.process_time() - start:.1f} s")


if __name__ == "__main__":
    main()
