"""Evaluation first: which images evaluation rows show, and which training rows show them too.

A training row shows an evaluation row's image where bytes or decoded pixels are equal, or the perceptual
hashes lie within the distance. These are pairs, not clusters: a chain or a star never hides one. The
values of evaluation images are few, so every worker that writes memberships holds them all, sorted
once, and looks its shards' rows up in them.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from filters.hamming import Buckets, Nearest, pairs_of
from pipelines.phases.dedup.signals import EXACT, KINDS, PHASH, PIXELS, Rows
from pipelines.phases.dedup.tables import U64, Columns, Folder, firsts, joined, ordered, take

GUARDED: Final = (EXACT, PIXELS, PHASH)
GUARD: Final = len(KINDS)
"""Added to a kind's number in the shuffle of values: a value of an evaluation row."""


def guard_entries(rows: Rows) -> Iterator[Columns]:
    """The values of the evaluation rows' images, kind by kind, as the shuffle of values takes them."""
    for kind in GUARDED:
        value = rows.hashes if kind == PHASH else rows.values[kind]
        columns = {"hi": value.hi, "lo": value.lo, "key_hi": rows.key_hi, "key_lo": rows.key_lo}
        entries = take({**columns, "row": rows.numbers}, value.known & rows.evaluation)
        entries["check"] = np.zeros(len(entries["row"]), np.uint64)
        entries["rows"] = np.ones(len(entries["row"]), np.int64)
        entries["kind"] = np.full(len(entries["row"]), GUARD + kind, np.uint8)
        yield entries


class Guard:
    """The images of all evaluation rows, to look training rows up in."""

    def __init__(self, folder: Folder, paths: Sequence[str], distance: int) -> None:
        held = joined([folder.load(path) for path in paths])
        self._held = {kind: take(held, held["kind"] == GUARD + kind) for kind in GUARDED}
        self._buckets = {kind: Buckets(self._held[kind]["hi"]) for kind in (EXACT, PIXELS)}
        # of hashes equally near the one with the smallest key is named; of equal hashes no other is needed
        hashes = ordered(self._held[PHASH], "key_hi", "key_lo", "row")
        _, places = np.unique(hashes["hi"], return_index=True)
        self._hashes = take(hashes, np.sort(places))
        self._near = Nearest(self._hashes["hi"], distance)

    def nearest_pairs(self, rows: Rows, further: Rows | None) -> Columns:
        """One pair for each training row that shows an evaluation image, as its first or as a further one."""
        pairs = self.pairs(rows)
        if further is None:
            return pairs
        both = joined([pairs, self.pairs(further)])
        both = ordered(both, "row", "distance", "cluster_hi", "cluster_lo", "of")
        return take(both, firsts(both["row"]))

    def pairs(self, rows: Rows) -> Columns:
        """The training rows that show an evaluation row's image: `row`, and the evaluation row's key and number.

        Of several evaluation rows one is named: of equal bytes, else of equal pixels, else of the nearest
        hash; of those the one with the smallest key. `distance` is 0 for equal bytes and pixels.
        """
        open_ = ~rows.evaluation
        found: list[Columns] = []
        for kind, buckets in self._buckets.items():
            value = rows.values[kind]
            mine = np.flatnonzero(open_ & value.known)
            at = _equal(self._held[kind], buckets, value.hi[mine], value.lo[mine])
            found.append(_pairs(rows, mine, self._held[kind], at))
            open_[mine[at >= 0]] = False
        mine = np.flatnonzero(open_ & rows.hashes.known)
        at, apart = self._near.find(rows.hashes.hi[mine])
        found.append(_pairs(rows, mine, self._hashes, at, apart))
        return joined(found)


def _equal(held: Columns, buckets: Buckets, hi: U64, lo: U64) -> npt.NDArray[np.int64]:
    """For each value its place among the distinct ones held, or -1."""
    found = np.full(len(hi), -1, np.int64)
    looked, places = pairs_of(buckets.find(hi), buckets.order)
    equal = held["hi"][places] == hi[looked]
    looked, places = looked[equal], places[equal]
    equal = held["lo"][places] == lo[looked]
    found[looked[equal]] = places[equal]
    return found


def _pairs(
    rows: Rows,
    mine: npt.NDArray[np.int64],
    held: Columns,
    at: npt.NDArray[np.int64],
    distance: npt.NDArray[np.int64] | None = None,
) -> Columns:
    """The rows of `mine` that were found at a place of `held`."""
    hit = at >= 0
    near = np.zeros(len(at), np.int64) if distance is None else distance
    return {
        "row": rows.numbers[mine[hit]],
        "cluster_hi": held["key_hi"][at[hit]],
        "cluster_lo": held["key_lo"][at[hit]],
        "of": held["row"][at[hit]],
        "distance": near[hit].astype(np.int32),
    }
