"""Who stays where a winner loses in a later round: `repeat`, `picture`, `semantic`, then the cap on captions.

A row bears the key that it lost to. After each round these keys meet those of the rows that lost in it, so that every
row names one that is kept, or says that the cap drops it.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.engines.step import At, Json, Piece
from pipelines.phases.dedup.signals import PLACE
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    joined,
    key_words,
    mix,
    ordered,
    runs,
    take,
)
from pipelines.phases.select.candidates import Judge
from pipelines.phases.select.captions import Capped
from pipelines.phases.select.keepers import Lost


class Settle:
    """Shuffles losers by the key that they lost to, and those of the newest round (with `capped`: the rows beyond the
    cap) by their own; writes whose winner lost, and who stays in its place."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._lost = Lost(self._folder, setup)
        self._partitions = int(setup["partitions"])
        self._judge = Judge(setup) if setup["capped"] else None
        self._capped = Capped(setup)
        self._newest = len(setup["homes"]) - 1

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """The shard's rows by key: of losers `row` and the key they lost to, of newest ones the key that stays."""
        first = task["number"] << PLACE
        lost = self._lost.rows(first)
        claims, gone = self._known(lost) if self._judge is None else (lost, self._beyond(task, lost))
        none = np.zeros(len(claims["row"]), np.uint64)
        entries = joined(
            [
                {
                    "row": claims["row"] + first,
                    "key_hi": claims["key_hi"],
                    "key_lo": claims["key_lo"],
                    "to_hi": none,
                    "to_lo": none,
                },
                {"row": np.full(len(gone["key_hi"]), -1), **gone},
            ]
        )
        group = mix(entries["key_hi"] ^ mix(entries["key_lo"]))
        yield (group % np.uint64(self._partitions)).astype(np.int64), pa.table(entries)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The file of the rows whose winner lost: with the key of who stays, or of that winner if it is `capped`."""
        entries = ordered(columns_of(table), "key_hi", "key_lo", "row", "to_hi", "to_lo")
        run = runs(entries["key_hi"], entries["key_lo"])
        lost = np.flatnonzero((entries["row"] >= 0) & (entries["row"][run] < 0))
        if not len(lost):
            return {}
        stays = take(entries, run[lost])
        found = {"row": entries["row"][lost], "key_hi": stays["to_hi"], "key_lo": stays["to_lo"]}
        found["capped"] = np.full(len(lost), self._judge is not None, np.uint8)
        return {"path": self._folder.save("settled", partition, ordered(found, "row"))}

    def _known(self, lost: Columns) -> tuple[Columns, Columns]:
        """The losers of earlier rounds, and those of the newest with their own key and that of who stays.

        A row that another one of its shard stood for follows that one, so it asks for nothing.
        """
        newest = lost["round"] == self._newest
        gone = take(lost, newest)
        names = {"key_hi": "own_key_hi", "key_lo": "own_key_lo", "to_hi": "key_hi", "to_lo": "key_lo"}
        return take(lost, ~newest & (lost["of"] < 0)), {name: gone[column] for name, column in names.items()}

    def _beyond(self, task: Json, lost: Columns) -> Columns:
        """The keys of the rows beyond the cap."""
        assert self._judge is not None
        judged = self._judge.shard(task)
        hi, lo = key_words(judged.taken("key", self._capped.rows(judged, self._judge, lost)))
        return {"key_hi": hi, "key_lo": lo, "to_hi": hi, "to_lo": lo}
