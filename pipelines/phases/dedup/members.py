"""Memberships, brought home: one file for every shard."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.engines.step import At, Json
from pipelines.layout import Layout
from pipelines.phases.dedup.evaluation import Guard
from pipelines.phases.dedup.signals import CAPTION, EVAL, KINDS, PHASH, PLACE, Rows, Shards
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    cut,
    joined,
    keys_of,
    ordered,
    runs,
    stretches,
    take,
    totals,
)
from schemas.row import CLUSTERS, GUARDED_CLUSTERS

MEMBERSHIPS: Final = ("shard", "kind", "hi", "lo", "cluster_hi", "cluster_lo", "distance")
NOTHING: Final = len(KINDS)
"""The kind of an entry that only says that there is such a shard."""


class Members:
    """Shuffles what is known of values to the shards that hold them; writes work/clusters."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._shards = Shards(self._folder, setup)
        self._layout = Layout(**setup["layout"])
        self._names = str(setup["names"])
        self._partitions = int(setup["into"])
        self._guard = (
            Guard(self._folder, setup["guards"], setup["eval_distance"]) if setup["guards"] else None
        )
        self._captions: dict[str, str] = setup["captions"]
        self._kinds = kinds_of(self._guard is not None, bool(self._captions))

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """What one file knows, by shard."""
        if "same" in task:
            memberships = self._folder.load(task["same"], *MEMBERSHIPS)
        elif "hashes" in task:
            memberships = self._near(task["hashes"], task["stars"])
        else:
            memberships = _roll_call(int(task["shards"]))
        memberships = {name: memberships[name] for name in MEMBERSHIPS}
        yield from cut(memberships, memberships["shard"] % self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Files for the partition's shards; how many memberships of each kind they hold."""
        memberships = columns_of(table)
        names = self._folder.read(self._names)
        counts = np.zeros(len(self._kinds), np.int64)
        memberships = take(memberships, np.argsort(memberships["shard"], kind="stable"))
        shards = list(stretches(memberships["shard"]))
        for number, start, end in shards:
            counts += self._write(number, names, take(memberships, np.arange(start, end)))
        return {"shards": len(shards), "memberships": dict(zip(self._kinds, counts.tolist(), strict=True))}

    def _write(self, number: int, names: pa.Table, memberships: Columns) -> npt.NDArray[np.int64]:
        source, shard = (names[column][number].as_py() for column in ("source", "shard"))
        measured = self._shards.measured(number, source, shard)
        members = self._members(self._shards.settled(measured), memberships)
        schema = CLUSTERS
        if self._guard is not None:
            schema = GUARDED_CLUSTERS
            further = self._shards.further(number, source, shard, measured)
            members = _with_pairs(members, self._guard.nearest_pairs(measured, further))
        if self._captions:
            members = self._with_captions(number, measured, members)
        at = members["row"] & ((1 << PLACE) - 1)
        path = self._layout.path("signals", source, shard)
        rows = self._folder.read(path, ["source", "shard", "member", "key"]).take(at)
        table = rows.append_column("kind", pa.array(np.array(self._kinds)[members["kind"]], pa.string()))
        table = table.append_column("cluster", keys_of(members["cluster_hi"], members["cluster_lo"]))
        table = table.append_column("distance", pa.array(members["distance"], pa.int32()))
        if self._guard is not None:
            table = table.append_column("eval_source", _sources(names, members["of"]))
        table = table.select(schema.names).cast(schema)
        self._folder.write(self._layout.path("clusters", source, shard), table)
        return np.bincount(members["kind"], minlength=len(self._kinds))

    def _with_captions(self, number: int, rows: Rows, members: Columns) -> Columns:
        """A shard's memberships and those in clusters of captions, by row and kind."""
        path = self._captions.get(str(number % self._partitions))
        if path is None or not len(rows.numbers):
            return members
        found = self._folder.between(path, int(rows.numbers[0]), int(rows.numbers[-1]))
        count = len(found["row"])
        found |= {"kind": np.full(count, self._kinds.index(CAPTION), np.uint8), "of": np.full(count, -1)}
        return ordered(joined([members, {name: found[name] for name in members}]), "row", "kind")

    def _members(self, rows: Rows, memberships: Columns) -> Columns:
        """The shard's memberships in clusters, by row and kind."""
        parts: list[Columns] = []
        for kind in range(len(KINDS)):
            columns, known = rows.of(kind)
            mine, news = take(columns, known), take(memberships, memberships["kind"] == kind)
            found = find(mine, news)
            member = take(news, found[found >= 0])
            parts.append({**member, "row": mine["row"][found >= 0]})
        names = ("row", "kind", "cluster_hi", "cluster_lo", "distance")
        members = {name: np.concatenate([part[name] for part in parts]) for name in names}
        return ordered(members, "row", "kind")

    def _near(self, hashes: str, stars: str | None) -> Columns:
        """What is known of perceptual hashes: those of a star, and those of several rows."""
        entries = self._folder.load(hashes)
        run = runs(entries["hi"], entries["lo"])
        several = totals(run, entries["rows"]) > 1
        cluster_hi, cluster_lo = entries["key_hi"][run], entries["key_lo"][run]
        distance = np.zeros(len(run), np.int32)
        if stars is not None:
            star = self._folder.load(stars)
            place = find(entries, {**star, "hi": star.pop("value")})
            found = place >= 0
            cluster_hi = np.where(found, star["cluster_hi"][place], cluster_hi)
            cluster_lo = np.where(found, star["cluster_lo"][place], cluster_lo)
            distance = np.where(found, star["distance"][place], distance)
            several |= found
        memberships = {"cluster_hi": cluster_hi, "cluster_lo": cluster_lo, "distance": distance}
        memberships |= {"shard": entries["row"] >> PLACE, "hi": entries["hi"], "lo": entries["lo"]}
        memberships["kind"] = np.full(len(run), PHASH, np.uint8)
        return take(memberships, several)


def kinds_of(guarded: bool, captions: bool) -> tuple[str, ...]:
    """Returns the kinds of memberships that a corpus may have, in the order in which they stand."""
    return (*KINDS, *((EVAL,) if guarded else ()), *((CAPTION,) if captions else ()))


def _with_pairs(members: Columns, pairs: Columns) -> Columns:
    """A shard's memberships and its pairs with evaluation rows, by row and kind; `of` is -1 in a cluster."""
    clusters = {name: members[name] for name in ("row", "kind", "cluster_hi", "cluster_lo", "distance")}
    clusters["of"] = np.full(len(clusters["row"]), -1, np.int64)
    pairs = {**pairs, "kind": np.full(len(pairs["row"]), len(KINDS), np.uint8)}
    both = joined([clusters, {name: pairs[name] for name in clusters}])
    return ordered(both, "row", "kind")


def _sources(names: pa.Table, rows: npt.NDArray[np.int64]) -> pa.ChunkedArray:
    """The source of each row number, null where it is -1."""
    known = pa.array(rows >> PLACE, mask=rows < 0)
    return names["source"].take(known)


def _roll_call(shards: int) -> Columns:
    """An entry for every shard, so that each gets its file."""
    zeros = np.zeros(shards, np.uint64)
    memberships: Columns = dict.fromkeys(("hi", "lo", "cluster_hi", "cluster_lo"), zeros)
    memberships |= {"shard": np.arange(shards), "kind": np.full(shards, NOTHING, np.uint8)}
    return {**memberships, "distance": np.zeros(shards, np.int32)}


def find(mine: Columns, news: Columns) -> npt.NDArray[np.int64]:
    """Returns for each of `mine` the index of the news about its value, or -1."""
    hi = np.concatenate([news["hi"], mine["hi"]])
    lo = np.concatenate([news["lo"], mine["lo"]])
    order = np.lexsort((lo, hi))  # stable: news before what it is about
    head = np.empty(len(hi), np.int64)
    head[order] = order[runs(hi[order], lo[order])]
    found = head[len(news["hi"]) :]
    return np.where(found < len(news["hi"]), found, -1)
