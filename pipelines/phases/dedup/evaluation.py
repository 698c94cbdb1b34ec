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
from pipelines.phases.dedup.tables import Columns, Folder, firsts, joined, ordered, take

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
        hashed = held["kind"] == GUARD + PHASH
        values = take(held, ~hashed)
        # of hashes equally near the one with the smallest key is named
        hashes = _by_key(take(held, hashed))
        self._held = joined([values, hashes])
        self._values = len(values["hi"])
        self._equal = Buckets(values["hi"])
        self._near = Nearest(hashes["hi"], distance)

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
        training = np.flatnonzero(~rows.evaluation)
        at = self._places_of_equals(rows, training)
        distance = np.zeros(len(at), np.int32)
        rest = np.flatnonzero((at < 0) & rows.hashes.known[training])
        near, apart = self._near.find(rows.hashes.hi[training[rest]])
        hit = near >= 0
        at[rest[hit]], distance[rest[hit]] = near[hit] + self._values, apart[hit]
        found = np.flatnonzero(at >= 0)
        places = at[found]
        return {
            "row": rows.numbers[training[found]],
            "cluster_hi": self._held["key_hi"][places],
            "cluster_lo": self._held["key_lo"][places],
            "of": self._held["row"][places],
            "distance": distance[found],
        }

    def _places_of_equals(self, rows: Rows, training: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """For each training row the place of an evaluation image of equal bytes, else of equal pixels, or -1."""
        kinds = [EXACT, PIXELS]
        hi, lo, known = (
            np.concatenate([getattr(rows.values[kind], name)[training] for kind in kinds])
            for name in ("hi", "lo", "known")
        )
        kind = np.repeat(np.array(kinds, np.uint8) + GUARD, len(training))
        looked, places = pairs_of(self._equal.find(hi), self._equal.order)
        for name, wanted in (("hi", hi), ("lo", lo), ("kind", kind)):
            equal = self._held[name][places] == wanted[looked]
            looked, places = looked[equal], places[equal]
        at = np.full(len(hi), -1, np.int64)
        at[looked] = places
        bytes_, pixels = np.where(known, at, -1).reshape(len(kinds), -1)
        return np.where(bytes_ >= 0, bytes_, pixels)


def _by_key(held: Columns) -> Columns:
    """The images by the key of their rows. Most first halves of keys are unique: only others are compared whole."""
    fast = take(held, np.argsort(held["key_hi"], kind="stable"))
    return fast if firsts(fast["key_hi"]).all() else ordered(held, "key_hi", "key_lo", "row")
