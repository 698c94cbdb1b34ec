"""The cap on rows of one caption: of those that every other rule keeps, so many stay, those with the smallest keys.

Rows held out for evaluation and rows that a list removes do not count. A shard gives of each caption at most one row
more than may stay, so that one text on any number of rows is a few entries; one entry comes back, the last row that
stays.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.corpus_rules import MaxPerCaption
from pipelines.engines.step import At, Json
from pipelines.phases.dedup.signals import CAPTION, PLACE
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    cut,
    firsts,
    key_words,
    mix,
    ordered,
    runs,
    take,
)
from pipelines.phases.select.candidates import Judge
from pipelines.phases.select.cuts import fails
from pipelines.phases.select.judged import Judged, digests
from pipelines.phases.select.keepers import Homes, Lost, words

CAPPED: Final = "max_per_caption"
"""The rule's name."""


class Caps:
    """Shuffles rows of one caption together; writes, for each shard with rows beyond the cap, the last that stays."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._folder = Folder(setup)
        self._partitions = int(setup["partitions"])
        self._lost = Lost(self._judge, setup)
        self._cuts = setup["cuts"]

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """Of each caption every shard's first rows by key."""
        judged = self._judge.load(task)
        rule = self._judge.recipe.rules_of(judged.source).get(MaxPerCaption)
        if rule is None:
            return
        lost = self._lost.rows(judged)
        rows = sharing(judged, counted(judged, self._judge, self._cuts, lost), rule)
        shards = {**rows, "shard": rows["row"] >> PLACE}
        rows = ordered(shards, "group", "shard", "key_hi", "key_lo", "row")
        run = runs(rows["group"], rows.pop("shard"))
        first = take(rows, np.arange(len(run)) - run < rule.max + 1)
        yield from cut(first, (first["group"] % np.uint64(self._partitions)).astype(np.int64))

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """A file with one entry for each shard and caption of which rows go: a `row` of the caption, the last kept."""
        rule = self._judge.recipe.rules.get(MaxPerCaption)
        assert rule is not None
        rows = ordered(columns_of(table), "group", "key_hi", "key_lo", "row")
        run = runs(rows["group"])
        beyond = np.flatnonzero(np.arange(len(run)) - run >= rule.max)
        if not len(beyond):
            return {}
        stays = take(rows, run[beyond] + rule.max - 1)
        capped = {"row": rows["row"][beyond], "group": rows["group"][beyond]}
        capped |= {f"last_{name}": stays[name] for name in ("key_hi", "key_lo", "row")}
        capped = {**capped, "shard": capped["row"] >> PLACE}
        capped = ordered(capped, "group", "shard", "row")
        once = take(capped, firsts(capped["group"], capped["shard"]))
        return {"path": self._folder.save("capped", partition, ordered(once, "row"))}


def counted(judged: Judged, judge: Judge, cuts: Json, lost: Columns) -> npt.NDArray[np.bool_]:
    """Returns which rows count for the cap: those that every other rule keeps, but for evaluation."""
    stays = judged.candidate & ~fails(judged, judge.recipe, cuts)
    stays[lost["row"]] = False
    found: npt.NDArray[np.bool_] = stays & (judged.removed == "") & ~judged.evaluation
    return found


def sharing(judged: Judged, which: npt.NDArray[np.bool_], rule: MaxPerCaption) -> Columns:
    """Returns those rows that share their caption with others, by caption and key: `group`, keys and numbers."""
    chosen = np.flatnonzero(which & (judged.clusters[CAPTION] != ""))
    hi, lo = words(judged.clusters[CAPTION][chosen])
    whole = judged.source.id if rule.scope == "source" else ""
    names = judged.languages[chosen] if rule.scope == "language" else [whole] * len(chosen)
    group = mix(hi ^ mix(lo ^ mix(digests(pa.array(names, pa.string())))))
    key_hi, key_lo = key_words(judged.taken("key", chosen))
    rows: Columns = {"group": group, "key_hi": key_hi, "key_lo": key_lo, "row": judged.places[chosen]}
    return ordered(rows, "group", "key_hi", "key_lo", "row")


class Capped:
    """The rows beyond the cap, table by table."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._known, self._homes = frozenset(setup["capped"]), Homes(setup["starts"])
        self._cuts = setup["cuts"]

    def rows(self, judged: Judged, judge: Judge, lost: Columns) -> npt.NDArray[np.int64]:
        """The places in a table of the rows beyond the cap; `lost` are its losers to duplicates."""
        rule = judge.recipe.rules_of(judged.source).get(MaxPerCaption)
        if rule is None or not len(judged.places):
            return np.zeros(0, np.int64)
        first, last = int(judged.places[0]), int(judged.places[-1])
        number = int(self._homes.of(first >> PLACE))
        if number not in self._known:
            return np.zeros(0, np.int64)
        # of each shard with rows beyond the cap there is an entry, and all of one caption say the same
        capped = ordered(
            self._folder.between(self._folder.path(f"home-{CAPPED}", number), first, last), "group"
        )
        rows = sharing(judged, counted(judged, judge, self._cuts, lost), rule)
        at = np.searchsorted(capped["group"], rows["group"])
        known = np.flatnonzero(at < np.searchsorted(capped["group"], rows["group"], "right"))
        rows, stays = take(rows, known), take(capped, at[known])
        later = rows["row"] > stays["last_row"]
        for name in ("key_lo", "key_hi"):
            equal = rows[name] == stays[f"last_{name}"]
            later = (rows[name] > stays[f"last_{name}"]) | (equal & later)
        return judged.at(np.sort(rows["row"][later]))
