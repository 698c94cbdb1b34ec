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
from pipelines.engines.step import At, Json
from pipelines.phases.dedup.evaluation import GUARD, GUARDED, guard_entries
from pipelines.phases.dedup.signals import EXACT, KINDS, PHASH, PIXELS, PLACE, Rows, Shards, finer_checks
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    firsts,
    joined,
    ordered,
    runs,
    spread,
    take,
    totals,
)


class EqualValues:
    """Shuffles every shard's values by value.

    Writes for each partition `same` (the memberships of clusters of equal values), `hashes`
    (the perceptual hashes that each shard holds, by hash, sketch, key and row), `turned` (the hashes of turned images,
    with the hash `of` the image as it is) and, in the first round, `guard` (the distinct values of images in evaluation
    rows).
    """

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._shards = Shards(self._folder, setup)
        self._partitions = int(setup["partitions"])
        self._round = str(setup["round"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """One entry for each value in the shard."""
        rows = self._shards.rows(task["number"], task["source"], task["shard"])
        checks = finer_checks(rows)
        parts = []
        for kind in range(len(KINDS)):
            columns, known = rows.of(kind)
            entries = take({**columns, "check": checks[kind]}, known)
            entries["rows"] = np.ones(len(entries["row"]), np.int64)
            entries["kind"] = np.full(len(entries["row"]), kind, np.uint8)
            parts.append(_merged(entries))
        if self._round == "first" and rows.evaluation.any():
            further = self._shards.further(task["number"], task["source"], task["shard"], rows)
            parts += [part for one in (rows, further) if one is not None for part in guard_entries(one)]
        parts += _turned(rows)
        entries = joined(parts)
        yield from spread(entries, entries["hi"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The clusters among the partition's values; `torn` counts those that coarser kinds would tear."""
        entries = columns_of(table)
        same, torn = [], 0
        for kind in range(PHASH):
            found = _ordered(take(entries, entries["kind"] == kind))
            run = runs(found["hi"], found["lo"])
            if kind in (EXACT, PIXELS):
                torn += int((found["check"] != found["check"][run]).sum())
            same.append(_clusters(found, run))
        hashes = _ordered(take(entries, entries["kind"] == PHASH))
        turned = _first(take(entries, entries["kind"] == TURNED))
        distinct = int(np.count_nonzero(firsts(hashes["hi"]))) + len(turned["row"])
        receipt: Json = {"partition": partition, "torn": torn, "distinct": distinct}
        memberships = joined(same)
        if len(memberships["shard"]):
            receipt["same"] = self._folder.save(f"{self._round}-same", partition, memberships)
        if len(hashes["row"]):
            hashes = {name: hashes[name] for name in ("hi", "lo", "key_hi", "key_lo", "row", "rows")}
            receipt["hashes"] = self._folder.save(f"{self._round}-hashes", partition, hashes)
        if len(turned["row"]):
            columns = {"value": turned["hi"], "of": turned["lo"]}
            receipt["turned"] = self._folder.save(f"{self._round}-turned", partition, columns)
        if ((entries["kind"] >= GUARD) & (entries["kind"] < TURNED)).any():
            guard = joined([_first(take(entries, entries["kind"] == GUARD + kind)) for kind in GUARDED])
            guard = {name: guard[name] for name in ("kind", "hi", "lo", "key_hi", "key_lo", "row")}
            receipt["guard"] = self._folder.save("guard", partition, guard)
        return receipt


TURNED: Final = 2 * GUARD
"""The kind of an entry that tells the hash of a turned image."""


def _turned(rows: Rows) -> list[Columns]:
    """The hashes of the rows' images turned, each with the hash of the image as it is."""
    value = rows.values[PHASH]
    if rows.turned is None:
        return []
    pairs = np.unique(
        [rows.turned[value.known, 1:].reshape(-1), np.repeat(value.hi[value.known], TURNS - 1)], axis=1
    )
    zeros = np.zeros(pairs.shape[1], np.uint64)
    columns = {
        "hi": pairs[0],
        "lo": pairs[1],
        "key_hi": zeros,
        "key_lo": zeros,
        "row": zeros.astype(np.int64),
    }
    kind = np.full(len(zeros), TURNED, np.uint8)
    return [{**columns, "check": zeros, "rows": np.ones(len(zeros), np.int64), "kind": kind}]


COARSER: Final = {EXACT: (PIXELS, PHASH), PIXELS: (PHASH,)}


class Agreement:
    """Shuffles rows by the value of one kind; writes the rows whose coarser values change."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._shards = Shards(self._folder, setup)
        self._partitions = int(setup["partitions"])
        self._kind = int(setup["kind"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The shard's rows that have a value of the kind, with their coarser values."""
        rows = self._shards.rows(task["number"], task["source"], task["shard"])
        columns, known = rows.of(self._kind)
        for kind in COARSER[self._kind]:
            value = rows.values[kind]
            columns |= {f"hi{kind}": value.hi, f"lo{kind}": value.lo}
            columns[f"known{kind}"] = value.known.astype(np.uint8)
        columns = take(columns, known)
        yield from spread(columns, columns["hi"], self._partitions)

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


def _merged(entries: Columns) -> Columns:
    """One entry for each (value, check): its smallest (key, row), and how many rows it stands for."""
    entries = _ordered(entries)
    run = runs(entries["hi"], entries["lo"], entries["check"])
    # rows of one value whose checks differ may alternate; that only leaves more entries than need be
    return take({**entries, "rows": totals(run, entries["rows"])}, run == np.arange(len(run)))


def _first(entries: Columns) -> Columns:
    """Of each value the entry with the smallest key and row, by value."""
    entries = _ordered(entries)
    return take(entries, firsts(entries["hi"], entries["lo"]))


def _ordered(entries: Columns) -> Columns:
    """The entries sorted by value, key, row. Most values are unique: only the others are sorted twice."""
    hi = entries["hi"]
    order = np.argsort(hi, kind="stable")
    equal = hi[order][1:] == hi[order][:-1]
    shared = np.zeros(len(hi), np.bool_)
    shared[1:] |= equal
    shared[:-1] |= equal
    places = order[shared]
    columns = [entries[name][places] for name in ("row", "key_lo", "key_hi", "lo", "hi")]
    order[shared] = places[np.lexsort(columns)]
    return take(entries, order)


def _clusters(found: Columns, run: npt.NDArray[np.int64]) -> Columns:
    """The memberships of each value that two rows or more have."""
    shared = totals(run, found["rows"]) > 1
    first = run[shared]
    memberships = {name: found[name][shared] for name in ("kind", "hi", "lo")}
    memberships |= {"cluster_hi": found["key_hi"][first], "cluster_lo": found["key_lo"][first]}
    memberships["distance"] = np.zeros(len(first), np.int32)
    memberships["shard"] = found["row"][shared] >> PLACE
    return memberships
