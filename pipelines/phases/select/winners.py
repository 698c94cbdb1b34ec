"""Who stays where a winner loses in a later round: `repeat`, `picture`, `semantic`, then the cap on captions.

A row bears the key that it lost to. After each round these keys meet those of the rows that lost in it, so that every
row names one that is kept, or says that the cap drops it.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.engines.step import At, Json, Piece
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
from pipelines.phases.select.keepers import Known, Lost


class Settle:
    """Shuffles losers by the key that they lost to, and those of the newest round (with `capped`: the rows beyond the
    cap) by their own; writes whose winner lost, and who stays in its place."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._known = Known(setup)
        self._partitions = int(setup["partitions"])
        self._beyond = _Beyond(setup) if setup["capped"] else None
        self._newest = len(setup["homes"]) - 1
        self._round = str(setup["round"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """The rows of a `home` or, with `capped`, of a task by key: of losers `row` and the key they lost to, of
        newest ones the key that stays.

        A row that another one of its shard stood for follows that one, so it asks for nothing.
        """
        if self._beyond is None:
            lost = self._known.home(task["home"])
            newest = lost["round"] == self._newest
            claims, gone = take(lost, ~newest), take(lost, newest)
        else:
            claims, gone = self._beyond.rows(task)
        claims = take(claims, claims["of"] < 0)
        none = np.zeros(len(claims["row"]), np.uint64)
        asked = {name: claims[name] for name in ("row", "key_hi", "key_lo")}
        answers = {"key_hi": gone["own_key_hi"], "key_lo": gone["own_key_lo"]}
        answers |= {"row": np.full(len(gone["key_hi"]), -1), "to_hi": gone["key_hi"], "to_lo": gone["key_lo"]}
        entries = joined([asked | {"to_hi": none, "to_lo": none}, answers])
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
        found["capped"] = np.full(len(lost), self._beyond is not None, np.uint8)
        return {"path": self._folder.save(self._round, partition, ordered(found, "row"))}


class _Beyond:
    """The losers of a task's shards and their rows beyond the cap on captions."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._lost = Lost(self._judge, setup)
        self._capped = Capped(setup)

    def rows(self, task: Json) -> tuple[Columns, Columns]:
        """The losers, and the keys of the rows beyond the cap, which nothing stays in the place of."""
        judged = self._judge.load(task)
        lost = self._lost.rows(judged)
        hi, lo = key_words(judged.taken("key", self._capped.rows(judged, self._judge, lost)))
        gone = {"key_hi": hi, "key_lo": lo, "own_key_hi": hi, "own_key_lo": lo}
        return {**lost, "row": judged.places[lost["row"]]}, gone
