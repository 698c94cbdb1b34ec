"""Embeddings that say the same: spherical k-means, and stars of high cosines within its cells (SemDeDup, 2303.09540).

Vectors are unit vectors of whole numbers, so sums and dot products are exact in float64: no library, number of threads
or order of rows moves a digit, and every engine finds the same cells and stars.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from filters.clusters import followed

I16 = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

ONE: Final = 4096
"""The length of a vector; float16 has no more digits."""
ROUNDS: Final = 10
BLOCK: Final = 1024
MOST_COSINES: Final = 8_000_000
"""So many are held at a time."""
WIDE: Final = 16_384
"""So many vectors are held as float64 at a time."""


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
    one = np.asarray(left, np.float64)
    found = np.empty((len(left), len(right)))
    length = np.sqrt((one * one).sum(axis=1))[:, None]
    for start in range(0, len(right), WIDE):
        # whole numbers of 16 bits take four times the memory as float64
        other = np.asarray(right[start : start + WIDE], np.float64)
        found[:, start : start + WIDE] = (one @ other.T) / (length * np.sqrt((other * other).sum(axis=1)))
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
    left = np.arange(len(vectors))
    while len(left):
        block = left[: _block(len(left))]
        near = cosines(vectors[block], vectors[left]) >= similarity
        free = np.ones(len(left), np.bool_)
        for place, at in enumerate(block.tolist()):
            if free[place]:
                mine = near[place] & free
                mine[place] = True
                centre[left[mine]] = at
                free &= ~mine
        left = left[free]
    return centre


def fewer(vectors: I16, stays: int) -> I64:
    """Returns (N,): itself for `stays` vectors, for the others the one that stays in their place.

    Those go whose highest cosine with a vector before them is the highest (SemDeDup's threshold, chosen by the share
    that it leaves); of equals the later one. What is like a vector that goes too has the one in whose place that goes.
    """
    nearest, similarity = _before(vectors)
    goes = np.lexsort((-np.arange(len(vectors)), -similarity))[: max(0, len(vectors) - max(1, stays))]
    found = np.arange(len(vectors))
    found[goes] = nearest[goes]
    return followed(found)


def _before(vectors: I16) -> tuple[I64, F64]:
    """For each vector the one before it that is most like it, of equals the first, and their cosine; itself and -2
    for the first vector."""
    nearest, similarity = np.arange(len(vectors)), np.full(len(vectors), -2.0)
    block = _block(len(vectors))
    for start in range(0, len(vectors), block):
        rows = np.arange(start, min(start + block, len(vectors)))
        near = cosines(vectors[rows], vectors[: rows[-1] + 1])
        near[np.arange(near.shape[1]) >= rows[:, None]] = -2.0
        some = rows[rows > 0]
        nearest[some] = near[some - start].argmax(axis=1)
        similarity[some] = near[some - start, nearest[some]]
    return nearest, similarity


def _block(count: int) -> int:
    """So many of `count` vectors are compared with all at a time."""
    return max(1, min(BLOCK, MOST_COSINES // max(1, count)))
