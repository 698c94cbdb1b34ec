"""One value for pictures that must not differ.

Equal bytes have equal pixels, and equal pixels an equal perceptual hash, unless signals come from
different readings of a picture (a palette and its RGB twin, a library that changed). Then the
coarser kinds would tear what the finer ones join, so all rows of a finer value take the coarser value
of its first row, by key and row.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.dedup.plan import EXACT, PHASH, PIXELS
from pipelines.dedup.signals import Shards
from pipelines.dedup.tables import Columns, Folder, columns_of, joined, spread, take
from pipelines.dedup.values import runs
from pipelines.engines.step import At, Json

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
        order = np.lexsort([rows[name] for name in ("row", "key_lo", "key_hi", "lo", "hi")])
        rows = take(rows, order)
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
