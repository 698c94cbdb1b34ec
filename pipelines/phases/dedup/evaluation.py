"""Evaluation first: which training rows show an image that an evaluation row shows.

A training row shows an evaluation row's image where bytes or decoded pixels are equal, or the perceptual
hashes lie within the distance. These are pairs, not clusters: a chain or a star never hides one. Values are compared
as they were measured, whatever images of equal bytes or pixels agreed on since.

Equal bytes and pixels meet in the shuffle of values. Hashes of evaluation images are few, so every worker that sends
memberships home holds them all, sorted once, and looks the hashes of its partitions up in them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from filters.hamming import Nearest
from pipelines.phases.dedup.signals import ASIDE, EVALUATION, EXACT, KIND, PHASH, PIXELS, Rows
from pipelines.phases.dedup.tables import Columns, Folder, Values, firsts, joined, ordered, runs, take

GUARDED: Final = (EXACT, PIXELS, PHASH)
PAIRED: Final = ("of", "image")
"""What a pair has beside a membership: the evaluation row's number, and which of the row's images it shows."""


def asides(rows: Rows, measured: Rows, further: Iterable[Rows]) -> Iterator[Columns]:
    """Yields the values of images that stand in no cluster's stead, kind by kind; `image` is 0 for a row's first.

    Those are the measured values of first images that `rows`, the same rows after they settled, no longer have; hashes
    that no clusters are asked for; and all of `further`, the images beside the first, shard by shard.
    """
    shards = list(further)
    for kind in GUARDED:
        shown, values = measured.shown(kind), rows.values[kind]
        # as good as always nothing has settled, and nothing is to be compared
        if (shown.hi is not values.hi or shown.known is not values.known) and (
            missing := lacking(shown, values, kind)
        ).any():
            yield _aside(measured, kind, missing, np.zeros(len(missing), np.uint32))
        for one in shards:
            images = np.arange(1, len(one.numbers) + 1, dtype=np.uint32)
            yield _aside(one, kind, one.shown(kind).known, images)


def lacking(values: Values, others: Values, kind: int) -> npt.NDArray[np.bool_]:
    """Returns which of the values are not those of the `others` at the same place."""
    equal: npt.NDArray[np.bool_] = others.known & (values.hi == others.hi)
    # what a sketch adds to the value of a hash has no say here
    if kind != PHASH:
        equal &= values.lo == others.lo
    return values.known & ~equal


def _aside(rows: Rows, kind: int, which: npt.NDArray[np.bool_], images: npt.NDArray[Any]) -> Columns:
    value = rows.shown(kind)
    columns = {"hi": value.hi, "lo": value.lo, "key_hi": rows.key_hi, "key_lo": rows.key_lo}
    flags = (kind | ASIDE | EVALUATION * rows.evaluation).astype(np.uint8)
    return take({**columns, "row": rows.numbers, "check": images, "kind": flags}, which)


def pairs_of_equals(found: Columns) -> Columns:
    """The pairs of training rows with an evaluation row of the same value, with the smallest key of those.

    `found` are the entries of one kind whose value several may have, by value, key and row.
    """
    held = found["kind"] & EVALUATION != 0
    run = runs(found["hi"], found["lo"])
    at = np.full(len(run), -1, np.int64)
    places = np.flatnonzero(held)
    at[run[places][::-1]] = places[::-1]
    of = at[run]
    which = np.flatnonzero((of >= 0) & ~held)
    training = entries_of(take(found, which))
    return _pairs(training, take(found, of[which]), np.zeros(len(which), np.int32))


def entries_of(entries: Columns) -> Columns:
    """What pairs need to know of entries of the shuffle of values."""
    found = {name: entries[name] for name in ("hi", "row", "kind")}
    found["twins"] = (entries["rows"] > 1).astype(np.uint8)
    aside = entries["kind"] & ASIDE != 0
    return {**found, "image": np.where(aside, entries["check"], np.uint32(0))}


def _pairs(training: Columns, evaluation: Columns, distance: npt.NDArray[np.int32]) -> Columns:
    return {
        "row": training["row"],
        "kind": training["kind"] | EVALUATION,
        "cluster_hi": evaluation["key_hi"],
        "cluster_lo": evaluation["key_lo"],
        "distance": distance,
        "twins": training["twins"],
        "of": evaluation["row"],
        "image": training["image"],
    }


def unpaired(count: int) -> Columns:
    """What stands in the place of PAIRED for memberships in clusters."""
    return {"of": np.full(count, -1, np.int64), "image": np.zeros(count, np.uint32)}


class Guard:
    """The distinct hashes of the images of all evaluation rows, to look those of training rows up in."""

    def __init__(self, folder: Folder, paths: Sequence[str], distance: int) -> None:
        # of hashes equally near the one with the smallest key is named
        self._held = _by_key(joined([folder.load(path) for path in paths]))
        self._near = Nearest(self._held["hi"], distance)

    def pairs(self, entries: Columns) -> Columns:
        """The pairs of training rows with the evaluation row of the nearest hash, of those with the smallest key.

        `entries` are those of training rows: measured hashes (`hi`) with `row`, `kind`, `twins` and `image`.
        """
        places, apart = self._near.find(entries["hi"])
        hit = np.flatnonzero(places >= 0)
        found = take(entries, hit)
        return _pairs(found, take(self._held, places[hit]), apart[hit].astype(np.int32))


def nearest_pairs(members: Columns) -> Columns:
    """A shard's memberships, by row and kind, with one pair a row at most: kind `eval`.

    An image of a row is told by its evaluation row of equal bytes, else of equal pixels, else of the nearest hash; the
    row by the nearest of its images, of those the one whose evaluation row has the smallest key.
    """
    which = np.flatnonzero(members["kind"] & EVALUATION)
    pairs = take(members, which)
    pairs = {**pairs, "kind": pairs["kind"] & KIND, "place": which}
    if not firsts(pairs["row"]).all():
        pairs = ordered(pairs, "row", "image", "kind")
        pairs = take(pairs, firsts(pairs["row"], pairs["image"]))
        pairs = ordered(pairs, "row", "distance", "cluster_hi", "cluster_lo", "of")
        pairs = take(pairs, firsts(pairs["row"]))
    kept = members["kind"] < EVALUATION
    kept[pairs["place"]] = True
    return {**take(members, kept), "kind": np.minimum(members["kind"][kept], EVALUATION)}


def _by_key(held: Columns) -> Columns:
    """The hashes by the key of their rows. Most first halves of keys are unique: only others are compared whole."""
    fast = take(held, np.argsort(held["key_hi"], kind="stable"))
    return fast if firsts(fast["key_hi"]).all() else ordered(held, "key_hi", "key_lo", "row")
