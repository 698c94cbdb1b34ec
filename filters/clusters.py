"""Clusters of near values: connected components, then stars whose members are all near the centre.

A chain of near values can be long and its ends unlike, so components are cut into stars: among the
values of a component, in a given order, the first that belongs to no star becomes a centre and takes
all that are near it and belong to none.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from filters.hamming import U64, Edges

I64 = npt.NDArray[np.int64]

MOST_EDGES: Final = 4_000_000
"""Edges kept before they are thinned to a forest."""


def components(left: U64, right: U64) -> Edges:
    """(values, roots): every value that has an edge, ascending, and the smallest value of its component."""
    # here, since they would be a tenth of what every command takes to start
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    values, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    edges = (np.ones(len(left), np.int8), (ends[: len(left)], ends[len(left) :]))
    _, labels = connected_components(coo_array(edges, shape=(len(values), len(values))), directed=False)
    _, first = np.unique(labels, return_index=True)
    return values, values[first][labels]


def forest(chunks: Iterable[Edges], most: int = MOST_EDGES) -> Edges:
    """(value, root) edges, fewer than there are values, that connect what all the chunks connect.

    Sorted by value. No more than about `most` edges, or two a value, are held at a time.
    """
    held: list[Edges] = []
    count = 0
    for chunk in chunks:
        held.append(chunk)
        count += len(chunk[0])
        if count > most:
            held = [_thin(held)]
            # a forest near the limit must not be thinned again at every chunk
            count = len(held[0][0])
            most = max(most, 2 * count)
    return _thin(held)


def large_star(at: U64, other: U64) -> Edges:
    """One step towards stars, over all edges of each value in `at`, told in both directions.

    Every larger neighbour of a value is tied to the smallest of its neighbours and itself. With
    `small_star` in turns it turns components into stars around their smallest value (Kiveris et al.,
    Connected Components in MapReduce and Beyond, 2014); edges never grow in number.
    """
    at, other = _distinct(at, other)
    smallest = np.minimum(at, other[_run_starts(at)])
    larger = other > at
    return _distinct(other[larger], smallest[larger])


def small_star(at: U64, other: U64) -> Edges:
    """The other step: a value and its smaller neighbours are tied to the smallest; `at` > `other`."""
    at, other = _distinct(at, other)
    smallest = other[_run_starts(at)]
    later = other != smallest
    tied = np.concatenate([other[later], at])
    return _distinct(tied, np.concatenate([smallest[later], smallest]))


Near = Callable[[I64, I64], npt.NDArray[np.bool_]]
"""Says of two arrays of places, pair by pair, whether the first is near enough to the second to be of its star."""


def star_centres(groups: U64, near: Near) -> I64:
    """Returns for each value the index of its star's centre, which it is near to; a value is near to itself.

    Values come in the order in which they are to become centres; stars do not cross `groups`, which
    may be any grouping that holds near values together (it only saves comparisons). All groups are
    worked on at once: a round gives each group its next star.
    """
    centres = np.empty(len(groups), np.int64)
    open_ = np.argsort(groups, kind="stable")
    while len(open_):
        centre = open_[_run_starts(groups[open_])]
        found = near(open_, centre)
        centres[open_[found]] = centre[found]
        open_ = open_[~found]
    return centres


def followed(places: I64) -> I64:
    """Returns for each place the last one that a chain of places leads to; a place that leads to itself ends it."""
    while not np.array_equal(places, further := places[places]):
        places = further
    return places


def _thin(held: list[Edges]) -> Edges:
    empty = np.empty(0, np.uint64)
    left, right = (np.concatenate([empty, *(chunk[side] for chunk in held)]) for side in (0, 1))
    values, roots = components(left, right)
    tied = values != roots
    return values[tied], roots[tied]


def _distinct(left: U64, right: U64) -> Edges:
    """The distinct pairs, sorted."""
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    keep = np.ones(len(left), np.bool_)
    keep[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return left[keep], right[keep]


def _run_starts(runs: npt.NDArray[np.uint64]) -> I64:
    """For each element of `runs`, sorted so that equals are neighbours, the index of its run's first."""
    fresh = np.ones(len(runs), np.bool_)
    fresh[1:] = runs[1:] != runs[:-1]
    return np.maximum.accumulate(np.where(fresh, np.arange(len(runs)), 0))
