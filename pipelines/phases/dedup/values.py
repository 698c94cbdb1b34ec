"""Clusters of equal values: repeats, equal bytes, equal pixels; and the distinct perceptual hashes.

Equal bytes have equal pixels, and equal pixels an equal perceptual hash, unless signals come from different readings
of an image (a palette and its RGB twin, a library that changed). Then the coarser kinds would tear what the finer
ones join, so `Agreement` gives all rows of a finer value the coarser value of its first row, by key and row.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.sketch import TURNS
from pipelines.engines.step import At, Json, Piece
from pipelines.phases.dedup.evaluation import asides, entries_of, lacking, pairs_of_equals, unpaired
from pipelines.phases.dedup.near import saved_edges, ties
from pipelines.phases.dedup.signals import (
    ASIDE,
    EVALUATION,
    EXACT,
    KIND,
    KINDS,
    PHASH,
    PIXELS,
    PLACE,
    REPEAT,
    SETTLED,
    TURNED,
    Rows,
    Shards,
    finer_checks,
)
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    firsts,
    joined,
    ordered,
    repeated,
    runs,
    sent,
    stretches,
    take,
    totals,
)


class EqualValues:
    """Shuffles the values of shards by value.

    A shard sends each of its values once; its further rows of that value stay in its file of twins. Writes for each
    partition `same` (the memberships of clusters of equal values), `hashes` (the distinct perceptual hashes and
    sketches), `further` (the shards beyond the first that hold one of these), `turned` (the hashes of turned images,
    with the hash `of` the image as it is). Where there are evaluation rows, `same` has the pairs of training rows with
    those of equal bytes or pixels as well, `guard` the distinct hashes of evaluation images, and `asides` the hashes of
    training images that stand in no cluster.
    """

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._shards = Shards(self._folder, setup)
        self._partitions = int(setup["partitions"])
        self._round = str(setup["round"])
        self._guarded = bool(setup["evaluation"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """One entry for each value in a shard."""
        measured = self._shards.measured(task)
        rows = self._shards.settled(measured)
        found = list(_entries(rows, measured))
        if self._guarded:
            found += asides(rows, measured, self._shards.further(task, measured))
        merged = [_merged(entries) for entries in found]
        twins = joined([others for _, others in merged])
        if len(twins["row"]):
            self._save(twins)
        entries = joined([*(mine for mine, _ in merged), *_turned(rows)])
        yield sent(entries, entries["hi"], self._partitions)

    def _save(self, twins: Columns) -> None:
        """Leaves a file of twins for each shard that has some."""
        twins = take(twins, np.argsort(twins["row"] >> PLACE, kind="stable"))
        for number, start, end in stretches(twins["row"] >> PLACE):
            self._folder.save(twins_of(self._round), number, {n: one[start:end] for n, one in twins.items()})

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The clusters among the partition's values; `torn` counts those that coarser kinds would tear."""
        entries = columns_of(table)
        same, torn = [], 0
        for kind in range(PHASH):
            found = _shared(entries, _of(entries, kind))
            run = runs(found["hi"], found["lo"])
            if kind in (EXACT, PIXELS):
                torn += int((found["check"] != found["check"][run]).sum())
            same.append(_clusters(found, run))
            if self._guarded:
                same[-1] |= unpaired(len(same[-1]["row"]))
                if kind in (EXACT, PIXELS):
                    same.append(pairs_of_equals(_measured(entries, kind, found)))
        hashes = _by_value(take(entries, _of(entries, PHASH)))
        turned = _first(take(entries, entries["kind"] == TURNED))
        distinct = int(np.count_nonzero(firsts(hashes["hi"]))) + len(turned["row"])
        files = {"same": joined(same)}
        files["hashes"], files["further"] = _distinct(hashes)
        files["turned"] = {"value": turned["hi"], "of": turned["lo"]}
        files["asides"] = _asides(entries)
        receipt: Json = {"partition": partition, "torn": torn, "distinct": distinct}
        if ((entries["kind"] & EVALUATION != 0) & (entries["kind"] & KIND != REPEAT)).any():
            receipt["guard"] = self._folder.save("guard", partition, _guard(entries))
        for name, columns in files.items():
            if len(next(iter(columns.values()))):
                receipt[name] = self._folder.save(f"{self._round}-{name}", partition, columns)
        if "turned" in receipt:
            receipt["ties"] = saved_edges(
                self._folder, f"{self._round}-ties", partition, ties(files["turned"])
            )
        return receipt


def _entries(rows: Rows, measured: Rows) -> Iterator[Columns]:
    """The values of a shard's rows, kind by kind; `kind` says which are of evaluation rows and which were settled."""
    checks = finer_checks(rows)
    of_evaluation = (EVALUATION * rows.evaluation).astype(np.uint8)
    for kind in range(len(KINDS)):
        columns, known = rows.of(kind)
        flags = of_evaluation | np.uint8(kind)
        if rows is not measured and kind != REPEAT:
            flags |= (SETTLED * lacking(rows.values[kind], measured.shown(kind), kind)).astype(np.uint8)
        yield take({**columns, "check": checks[kind], "kind": flags}, known)


def twins_of(round_: str) -> str:
    """The step whose files hold, of every shard that has such, the rows of values that an earlier row has."""
    return f"{round_}-twins"


def _turned(rows: Rows) -> list[Columns]:
    """The hashes of the rows' images turned, each with the hash of the image as it is."""
    value = rows.values[PHASH]
    if rows.turned is None:
        return []
    pairs: Columns = {
        "hi": rows.turned[value.known, 1:].reshape(-1),
        "lo": np.repeat(value.hi[value.known], TURNS - 1),
    }
    pairs = ordered(pairs, "hi", "lo")
    pairs = take(pairs, firsts(pairs["hi"], pairs["lo"]))
    zeros = np.zeros(len(pairs["hi"]), np.uint64)
    columns = {**pairs, "key_hi": zeros, "key_lo": zeros, "row": zeros.astype(np.int64)}
    kind = np.full(len(zeros), TURNED, np.uint8)
    return [
        {**columns, "check": zeros.astype(np.uint32), "rows": np.ones(len(zeros), np.uint32), "kind": kind}
    ]


COARSER: Final = {EXACT: (PIXELS, PHASH), PIXELS: (PHASH,)}


class Agreement:
    """Shuffles rows by the value of one kind; writes the rows whose coarser values change."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._shards = Shards(self._folder, setup)
        self._partitions = int(setup["partitions"])
        self._kind = int(setup["kind"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """The rows that have a value of the kind, with their coarser values."""
        rows = self._shards.rows(task)
        columns, known = rows.of(self._kind)
        for kind in COARSER[self._kind]:
            value = rows.values[kind]
            columns |= {f"hi{kind}": value.hi, f"lo{kind}": value.lo}
            columns[f"known{kind}"] = value.known.astype(np.uint8)
        columns = take(columns, known)
        yield sent(columns, columns["hi"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The changes, sorted by row."""
        rows = columns_of(table)
        rows = ordered(rows, "hi", "lo", "key_hi", "key_lo", "row")
        changes = joined([_changes(rows, kind) for kind in COARSER[self._kind]])
        changes = take(changes, np.argsort(changes["row"], kind="stable"))
        if not len(changes["row"]):
            return {"changed": 0}
        path = self._folder.save(f"agree-{self._kind}", partition, changes)
        return {"changed": len(changes["row"]), "settled": path}


def _changes(rows: Columns, kind: int) -> Columns:
    run = runs(rows["hi"], rows["lo"])
    hi, lo, known = rows[f"hi{kind}"], rows[f"lo{kind}"], rows[f"known{kind}"] > 0
    none = len(run)
    first = np.full(none + 1, none)
    np.minimum.at(first, run, np.where(known, np.arange(none), none))
    first = first[run]
    found = first < none
    first = np.where(found, first, 0)
    change = found & ~(known & (hi == hi[first]) & (lo == lo[first]))
    which = first[change]
    kinds = np.full(len(which), kind, np.uint8)
    return {"row": rows["row"][change], "kind": kinds, "hi": hi[which], "lo": lo[which]}


def _merged(entries: Columns) -> tuple[Columns, Columns]:
    """One entry for each (shard, value, check, kind): its smallest (key, row), its number of rows; and these others.

    Of the others `kind`, `row` and the row `of` the entry.
    """
    entries = _by_value({**entries, "shard": entries["row"] >> PLACE}, "shard")
    run = runs(entries["hi"], entries["lo"], entries.pop("shard"), entries["check"], entries["kind"])
    # rows of one value whose checks differ may alternate; that only leaves more entries than need be
    head = run == np.arange(len(run))
    rows = np.diff(np.flatnonzero(head), append=len(run)).astype(np.uint32)
    twins = {"kind": entries["kind"][~head] & (KIND | ASIDE), "row": entries["row"][~head]}
    return {**take(entries, head), "rows": rows}, {**twins, "of": entries["row"][run[~head]]}


def _of(entries: Columns, kind: int) -> npt.NDArray[np.bool_]:
    """Which entries stand in clusters of a kind."""
    mine: npt.NDArray[np.bool_] = entries["kind"] & ~np.uint8(EVALUATION | SETTLED) == kind
    return mine


def _measured(entries: Columns, kind: int, shared: Columns) -> Columns:
    """The entries of a kind that pairs with evaluation rows are sought among; `shared` are those in clusters."""
    flags = entries["kind"]
    if not (flags & (ASIDE | SETTLED)).any():
        return shared
    return _shared(entries, flags & ~np.uint8(EVALUATION | ASIDE) == kind)


def _shared(entries: Columns, which: npt.NDArray[np.bool_]) -> Columns:
    """Of some entries those whose value two rows or more may have, by value, key and row."""
    places = np.flatnonzero(which)
    places = places[np.argsort(entries["hi"][places])]
    maybe = repeated(entries["hi"][places]) | (entries["rows"][places] > 1)
    return ordered(take(entries, places[maybe]), "hi", "lo", "key_hi", "key_lo", "row")


def _first(entries: Columns) -> Columns:
    """Of each value the entry with the smallest key and row, by value."""
    entries = _by_value(entries)
    return take(entries, firsts(entries["hi"], entries["lo"]))


def _by_value(entries: Columns, *within: str) -> Columns:
    """The entries by value, other columns, key and row. Most values are unique: only the others are sorted twice."""
    order = np.argsort(entries["hi"])
    shared = repeated(entries["hi"][order])
    places = order[shared]
    columns = [entries[name][places] for name in ("row", "key_lo", "key_hi", *within, "lo", "hi")]
    order[shared] = places[np.lexsort(columns)]
    return take(entries, order)


def _distinct(hashes: Columns) -> tuple[Columns, Columns]:
    """Each hash and sketch once, with its smallest key; and the other entries: their `row` and place there, `at`.

    `rows` counts those of all entries. `twins` says whether its shard has several rows of an entry's value.
    """
    run = runs(hashes["hi"], hashes["lo"])
    head = run == np.arange(len(run))
    twins = (hashes["rows"] > 1).astype(np.uint8)
    distinct = {name: hashes[name][head] for name in ("hi", "lo", "key_hi", "key_lo", "row", "kind")}
    distinct |= {"rows": totals(run, hashes["rows"])[head], "twins": twins[head]}
    at = (np.cumsum(head) - 1)[~head]
    others = {name: hashes[name][~head] for name in ("row", "kind")}
    return distinct, {**others, "at": at, "twins": twins[~head]}


def _guard(entries: Columns) -> Columns:
    """The distinct hashes of images in evaluation rows, each with its smallest key."""
    held = take(entries, entries["kind"] & ~np.uint8(ASIDE) == PHASH | EVALUATION)
    first = _first({**held, "lo": np.zeros(len(held["hi"]), np.uint64)})
    return {name: first[name] for name in ("hi", "key_hi", "key_lo", "row")}


def _asides(entries: Columns) -> Columns:
    """The hashes of training images that stand in no cluster."""
    return entries_of(take(entries, entries["kind"] == PHASH | ASIDE))


def _clusters(found: Columns, run: npt.NDArray[np.int64]) -> Columns:
    """The memberships of each value that two rows or more have."""
    shared = totals(run, found["rows"]) > 1
    first = run[shared]
    memberships = {"kind": found["kind"][shared] & KIND, "row": found["row"][shared]}
    memberships |= {"cluster_hi": found["key_hi"][first], "cluster_lo": found["key_lo"][first]}
    memberships["distance"] = np.zeros(len(first), np.int32)
    memberships["twins"] = (found["rows"][shared] > 1).astype(np.uint8)
    return memberships
