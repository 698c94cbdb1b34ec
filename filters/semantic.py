"""Embeddings that say the same: spherical k-means, and stars of high cosines within its cells (SemDeDup, 2303.09540).

Vectors are unit vectors of whole numbers, so sums and dot products are exact in float64: no library, number of threads
or order of rows moves a digit, and every engine finds the same cells and stars.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

I16 = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

ONE: Final = 4096
"""The length of a vector; float16 has no more digits."""
ROUNDS: Final = 10
BLOCK: Final = 1024
MOST_COSINES: Final = 8_000_000
"""So many are held at a time."""


def units(vectors: npt.NDArray[np.floating]) -> I16:
    """Returns (N, D) int16: the vectors at length ONE. Raises ValueError where one has no direction."""
    whole = np.round(vectors.astype(np.float64) * ONE)
    length = np.sqrt((whole * whole).sum(axis=1))
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("a vector is not finite, or all zeros")
    found: I16 = np.round(ONE * whole / length[:, None]).astype(np.int16)
    return found


def cosines(left: npt.NDArray[np.number], right: npt.NDArray[np.number]) -> F64:
    """Returns (N, M): the cosines of N vectors with M, all of whole numbers."""
    one, other = np.asarray(left, np.float64), np.asarray(right, np.float64)
    lengths = np.sqrt((one * one).sum(axis=1))[:, None] * np.sqrt((other * other).sum(axis=1))
    found: F64 = (one @ other.T) / lengths
    return found


def cells(vectors: I16, centres: I16) -> I64:
    """Returns (N,): the centre that each vector is nearest to, of equally near ones the first."""
    found = np.zeros(len(vectors), np.int64)
    for start in range(0, len(vectors), BLOCK):
        found[start : start + BLOCK] = cosines(vectors[start : start + BLOCK], centres).argmax(axis=1)
    return found


def means(vectors: I16, count: int) -> I16:
    """Returns at most `count` centres of cells by k-means; the first vectors that differ are the first centres."""
    _, first = np.unique(vectors[: 4 * count], axis=0, return_index=True)
    centres = vectors[np.sort(first)[:count]]
    for _ in range(ROUNDS):
        cell = cells(vectors, centres)
        order = np.argsort(cell, kind="stable")
        there, start = np.unique(cell[order], return_index=True)
        sums = np.add.reduceat(vectors[order].astype(np.int64), start, axis=0)
        turned = centres.copy()
        some = (sums != 0).any(axis=1)
        # a sum of many is first brought to the size of one vector
        sizes = np.diff(np.append(start, len(vectors)))[some, None]
        turned[there[some]] = units(sums[some] / sizes / ONE)
        if (turned == centres).all():
            break
        centres = turned
    return centres


def stars(vectors: I16, similarity: float) -> I64:
    """Returns (N,): for each vector, in order, the first before it that is in no star and so similar; else itself."""
    centre = np.full(len(vectors), -1)
    for start, near in _near(vectors, similarity):
        for place in range(len(near)):
            at = start + place
            if centre[at] < 0:
                mine = near[place] & (centre < 0)
                mine[:at] = False
                mine[at] = True
                centre[mine] = at
    return centre


def _near(vectors: I16, similarity: float) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Block by block, which vectors each of the block is near to."""
    wide = vectors.astype(np.float64)
    block = max(1, min(BLOCK, MOST_COSINES // max(1, len(wide))))
    for start in range(0, len(wide), block):
        yield start, cosines(wide[start : start + block], wide) >= similarity
