"""Memberships, brought home: one file for every shard."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.engines.step import At, Json, Piece
from pipelines.files import join
from pipelines.layout import Layout
from pipelines.phases.dedup.evaluation import PAIRED, Guard, nearest_pairs, unpaired
from pipelines.phases.dedup.signals import CAPTION, EVAL, EVALUATION, KINDS, PHASH, PLACE, SETTLED
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    firsts,
    joined,
    keys_of,
    ordered,
    places_in,
    take,
    values_in,
)
from pipelines.phases.dedup.values import twins_of
from schemas.row import CLUSTERS, GUARDED_CLUSTERS

MEMBERSHIPS: Final = ("row", "kind", "cluster_hi", "cluster_lo", "distance", "twins")
NOTHING: Final = 255
"""The kind of an entry that only says that there is such a shard."""


class Members:
    """Shuffles memberships to the shards of their rows; writes work/clusters.

    One row of a shard stands for all that have its value; its twins take its memberships here.
    """

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._layout = Layout(**setup["layout"])
        self._names = str(setup["names"])
        self._round = str(setup["round"])
        self._partitions = int(setup["into"])
        self._guard = (
            Guard(self._folder, setup["guards"], setup["eval_distance"]) if setup["guards"] else None
        )
        self._captions: dict[str, str] = setup["captions"]
        self._kinds = kinds_of(self._guard is not None, bool(self._captions))
        self._schema = CLUSTERS if self._guard is None else GUARDED_CLUSTERS
        self._none: bytes | None = None
        self._sent = MEMBERSHIPS if self._guard is None else (*MEMBERSHIPS, *PAIRED)

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """What one file knows, by shard."""
        memberships = self._memberships(task)
        columns = {name: memberships[name] for name in self._sent}
        yield (columns["row"] >> PLACE) % self._partitions, pa.table(columns)

    def _memberships(self, task: Json) -> Columns:
        if "same" in task:
            return self._folder.load(task["same"], *self._sent)
        if "hashes" in task:
            return self._near(task["hashes"], task["further"], task["stars"])
        if self._guard is not None and "asides" in task:
            return self._guard.pairs(self._folder.load(task["asides"]))
        return _roll_call(int(task["shards"]))

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Files for the partition's shards; how many memberships of each kind they hold."""
        memberships = columns_of(table)
        memberships = take(memberships, np.argsort(memberships["row"]))
        shards = memberships["row"] >> PLACE
        numbers = shards[firsts(shards)]
        members = self._members(take(memberships, memberships["kind"] != NOTHING))
        if self._guard is not None:
            members = nearest_pairs(members)
        if str(partition) in self._captions:
            members = self._with_captions(self._captions[str(partition)], members)
        self._write(numbers, members)
        counts = np.bincount(members["kind"], minlength=len(self._kinds)).tolist()
        return {"shards": len(numbers), "memberships": dict(zip(self._kinds, counts, strict=True))}

    def _write(self, numbers: npt.NDArray[np.int64], members: Columns) -> None:
        """Writes a file for each shard, given the memberships of all, by row."""
        names = self._folder.read(self._names)
        found = self._table(names, members)
        ends = np.searchsorted(members["row"], numbers + 1 << PLACE)
        for number, start, end in zip(numbers.tolist(), [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            source, shard = (names[column][number].as_py() for column in ("source", "shard"))
            if start == end:
                self._write_none(source, shard)
                continue
            at = members["row"][start:end] & ((1 << PLACE) - 1)
            path = self._layout.path("signals", source, shard)
            rows = self._folder.read(path, ["source", "shard", "member", "key"]).take(at)
            for name, column in zip(found.column_names, found.slice(start, end - start).columns, strict=True):
                rows = rows.append_column(name, column)
            self._folder.write(
                self._layout.path("clusters", source, shard),
                rows.select(self._schema.names).cast(self._schema),
            )

    def _write_none(self, source: str, shard: str) -> None:
        """Writes the file of a shard without memberships: the same bytes for all, made once."""
        path, temporary = self._layout.path("clusters", source, shard), join(self._folder.scratch, "tmp")
        if self._none is None:
            self._folder.write(path, self._schema.empty_table())
            self._none = self._folder.store.read_bytes(path)
        else:
            self._folder.store.write_bytes(path, self._none, temporary)

    def _table(self, names: pa.Table, members: Columns) -> pa.Table:
        """What the files say of memberships beside their rows."""
        columns = {
            "kind": pa.array(self._kinds, pa.string()).take(pa.array(members["kind"])),
            "cluster": keys_of(members["cluster_hi"], members["cluster_lo"]),
            "distance": pa.array(members["distance"], pa.int32()),
        }
        if self._guard is not None:
            sources = pa.array(members["of"] >> PLACE, mask=members["of"] < 0)
            columns["eval_source"] = names["source"].combine_chunks().take(sources)
        return pa.table(columns)

    def _with_captions(self, path: str, members: Columns) -> Columns:
        """The memberships of some shards and those in clusters of captions, by row and kind."""
        found = self._folder.load(path)
        count = len(found["row"])
        found |= {"kind": np.full(count, self._kinds.index(CAPTION), np.uint8), **unpaired(count)}
        found["twins"] = np.zeros(count, np.uint8)
        return ordered(joined([members, {name: found[name] for name in members}]), "row", "kind")

    def _members(self, members: Columns) -> Columns:
        """The memberships of some shards, by row and kind, those of twins too; given the others, by row."""
        parts = [members]
        members = take(members, members["twins"] > 0)
        shards = members["row"] >> PLACE
        paths = [
            self._folder.path(twins_of(self._round), number) for number in shards[firsts(shards)].tolist()
        ]
        if paths:
            twins = joined([self._folder.load(path) for path in paths])
            for kind in np.unique(members["kind"]):
                mine = take(members, members["kind"] == kind)
                others = take(twins, twins["kind"] == kind & ~np.uint8(EVALUATION))
                at = places_in(mine["row"], others["of"])
                parts.append({**take(mine, at[at >= 0]), "row": others["row"][at >= 0]})
        return ordered(joined(parts), "row", "kind")

    def _near(self, hashes: str, further: str | None, stars: str | None) -> Columns:
        """What is known of perceptual hashes: those of a star, of several rows, of an evaluation image."""
        found = self._folder.load(hashes)
        others = self._folder.load(further) if further is not None else None
        pairs = self._guard.pairs(_training(found, others)) if self._guard is not None else None
        several = found["rows"] > 1
        found["distance"] = np.zeros(len(several), np.int32)
        if stars is not None:
            star = self._folder.load(stars)
            at = values_in(found, star)
            several[at] = True
            for name in ("cluster_hi", "cluster_lo", "distance"):
                key = name.replace("cluster", "key")
                found[key] = found[key].copy()
                found[key][at] = star[name]
        members = {name: found[name] for name in ("row", "distance", "twins")}
        members |= {"cluster_hi": found["key_hi"], "cluster_lo": found["key_lo"]}
        parts = [take(members, several)]
        if others is not None:
            parts.append({**take(members, others["at"]), "row": others["row"], "twins": others["twins"]})
        near = joined(parts)
        count = len(near["row"])
        near |= {"kind": np.full(count, PHASH, np.uint8), **unpaired(count)}
        return near if pairs is None else joined([near, pairs])


def kinds_of(guarded: bool, captions: bool) -> tuple[str, ...]:
    """Returns the kinds of memberships that a corpus may have, in the order in which they stand."""
    return (*KINDS, *((EVAL,) if guarded else ()), *((CAPTION,) if captions else ()))


def _training(distinct: Columns, further: Columns | None) -> Columns:
    """The entries of training rows with measured hashes: the first of each hash and sketch, and the further ones."""
    parts = [distinct] if further is None else [distinct, {**further, "hi": distinct["hi"][further["at"]]}]
    parts = [{name: part[name] for name in ("hi", "row", "kind", "twins")} for part in parts]
    entries = joined([take(part, part["kind"] & (EVALUATION | SETTLED) == 0) for part in parts])
    return {**entries, "image": np.zeros(len(entries["hi"]), np.uint32)}


def _roll_call(shards: int) -> Columns:
    """An entry for every shard, so that each gets its file."""
    zeros = np.zeros(shards, np.uint64)
    memberships: Columns = {"row": np.arange(shards) << PLACE, "kind": np.full(shards, NOTHING, np.uint8)}
    memberships |= {"cluster_hi": zeros, "cluster_lo": zeros, "distance": zeros.astype(np.int32)}
    return {**memberships, "twins": zeros.astype(np.uint8), **unpaired(shards)}
