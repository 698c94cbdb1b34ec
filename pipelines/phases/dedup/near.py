"""Pairs of perceptual hashes within the distance, found by many workers.

Connected components of the near pairs, by one worker where they are few and by many where not.

One value for pictures that must not differ.

Equal bytes have equal pixels, and equal pixels an equal perceptual hash, unless signals come from
different readings of a picture (a palette and its RGB twin, a library that changed). Then the
coarser kinds would tear what the finer ones join, so all rows of a finer value take the coarser value
of its first row, by key and row.

Stars of near hashes: by one worker for all, or component by component for many.
"""

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

from filters.clusters import components, forest, large_star, small_star, star_centres
from filters.hamming import U64, Edges, block_masks, bucket_edges, distances, near_edges
from pipelines.engines.step import At, Json
from pipelines.phases.dedup.plan import EXACT, PHASH, PIXELS
from pipelines.phases.dedup.signals import Shards
from pipelines.phases.dedup.tables import Columns, Folder, columns_of, joined, mix, spread, take
from pipelines.phases.dedup.values import runs


class NearPairs:
    """Shuffles distinct hashes by bucket, a mask's number and the bits under it; writes forests of edges."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._distance = int(setup["distance"])
        self._partitions = int(setup["into"])
        self._masks = block_masks(self._distance, int(setup["distinct"]))

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """Each hash once for each mask."""
        values = np.unique(self._folder.load(task["hashes"], "hi")["hi"])
        for number, mask in enumerate(self._masks):
            columns: Columns = {"mask": np.full(len(values), number, np.uint16), "value": values}
            yield from spread(columns, mix(values & mask) + np.uint64(number), self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Edges that connect whatever is near within the partition's buckets."""
        left, right = forest(self._edges(columns_of(table)))
        return saved_edges(self._folder, "near", partition, (left, right))

    def _edges(self, rows: Columns) -> Iterator[Edges]:
        for number in range(len(self._masks)):
            values: U64 = rows["value"][rows["mask"] == number]
            yield from bucket_edges(values, self._masks, number, self._distance)


def saved_edges(folder: Folder, step: str, partition: int, edges: Edges) -> Json:
    """The receipt of a file of edges: how many, where, and a sum that tells whether they changed."""
    left, right = edges
    receipt: Json = {"edges": len(left), "digest": int(mix(left ^ mix(right)).sum(dtype=np.uint64))}
    if len(left):
        receipt["path"] = folder.save(step, partition, {"left": left, "right": right})
    return receipt


ALONE: Final = 4_000_000
"""So many edges are left to one worker (about 500 MB)."""
MOST_ROUNDS: Final = 64


class Shuffle(Protocol):
    """Runs a step of the phase: its worker, tasks, partitions (None: the plan's), further settings."""

    def __call__(self, worker: str, tasks: list[Json], partitions: int | None, **more: object) -> list[Json]:
        """Receipts of the partitions that hold rows."""


class Components:
    """Shuffles edges to one partition, or in rounds of stars; an edge is (value, root) in the end."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["into"])
        self._turn = str(setup["turn"])
        self._step = str(setup["step"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The edges by the value whose star they shape; for large stars in both directions."""
        edges = self._folder.load(task["path"])
        if self._turn == "large":
            edges = joined([edges, {"left": edges["right"], "right": edges["left"]}])
        yield from spread(edges, edges["left"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The partition's edges after the step."""
        edges = columns_of(table)
        shape = {"whole": _whole, "large": large_star, "small": small_star}[self._turn]
        return saved_edges(self._folder, self._step, partition, shape(edges["left"], edges["right"]))


def find_components(shuffle: Shuffle, edges: list[Json]) -> list[Json]:
    """Receipts of files of (value, root), given those of near pairs (left > right).

    Values that are in no file are components by themselves. `shuffle` runs a step of this module.
    """
    if sum(receipt["edges"] for receipt in edges) <= ALONE:
        return _turn(shuffle, edges, "whole", "components")
    for count in range(MOST_ROUNDS):
        larger = _turn(shuffle, edges, "large", f"large-{count}")
        smaller = _turn(shuffle, larger, "small", f"small-{count}")
        if _state(smaller) == _state(edges):
            return smaller
        edges = smaller
    raise RuntimeError(f"components did not settle in {MOST_ROUNDS} rounds")


def _turn(shuffle: Shuffle, edges: list[Json], turn: str, step: str) -> list[Json]:
    tasks = [{"path": receipt["path"]} for receipt in edges if receipt["edges"]]
    partitions = 1 if turn == "whole" else None
    return shuffle("near:Components", tasks, partitions, turn=turn, step=step)


def _state(edges: list[Json]) -> tuple[int, int]:
    """How many edges there are, and a sum over them: equal for equal sets, wherever they lie."""
    count = sum(receipt["edges"] for receipt in edges)
    return count, sum(receipt["digest"] for receipt in edges) % (1 << 64)


def _whole(left: U64, right: U64) -> Edges:
    return forest([(left, right)])


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


class StarsAlone:
    """Brings all distinct hashes to one worker; writes the stars by the partition of their values."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._distance = int(setup["distance"])
        self._partitions = int(setup["partitions"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The partition's distinct hashes, each with its smallest key."""
        yield 0, pa.table(dict(distinct(self._folder, task["hashes"])))

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Files of stars."""
        hashes = columns_of(table)
        hashes = take(hashes, np.argsort(hashes["value"]))
        values, roots = components(*forest(near_edges(hashes["value"], self._distance)))
        hashes = take(hashes, np.searchsorted(hashes["value"], values))
        stars = find_stars({**hashes, "root": roots}, self._distance)
        pieces = spread(stars, stars["value"], self._partitions)
        return {"stars": {str(p): self._folder.save("stars", p, columns_of(piece)) for p, piece in pieces}}


class Labels:
    """Shuffles (value, root) to where the hashes lie, and gives them their keys."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["partitions"])
        self._hashes: dict[str, str] = setup["hashes"]

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """Each value with its root, and each root with itself."""
        edges = self._folder.load(task["path"])
        roots = np.unique(edges["right"])
        labels = {
            "value": np.concatenate([edges["left"], roots]),
            "root": np.concatenate([edges["right"], roots]),
        }
        yield from spread(labels, labels["value"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """A file of hashes with their keys and roots."""
        values, first = np.unique(table["value"].to_numpy(), return_index=True)
        hashes = distinct(self._folder, self._hashes[str(partition)])
        labelled = take(hashes, np.searchsorted(hashes["value"], values))
        labelled["root"] = table["root"].to_numpy()[first]
        return {"path": self._folder.save("labels", partition, labelled)}


class Stars:
    """Shuffles labelled hashes by component; writes the stars of each."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._distance = int(setup["distance"])
        self._partitions = int(setup["partitions"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """A file's hashes by root."""
        labelled = self._folder.load(task["path"])
        yield from spread(labelled, labelled["root"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """A file of the stars of the partition's components."""
        stars = find_stars(columns_of(table), self._distance)
        return {"path": self._folder.save("stars-found", partition, stars)}


class StarsHome:
    """Shuffles stars back to where their values lie."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["partitions"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """A file's stars by value."""
        stars = self._folder.load(task["path"])
        yield from spread(stars, stars["value"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """One file for the partition."""
        return {"stars": {str(partition): self._folder.save("stars", partition, columns_of(table))}}


def distinct(folder: Folder, path: str) -> Columns:
    """The distinct hashes of a file, ascending, each with its smallest key and that key's first row."""
    entries = folder.load(path, "hi", "key_hi", "key_lo", "row")
    run = runs(entries["hi"])
    entries = take(entries, run == np.arange(len(run)))
    return {"value": entries.pop("hi"), **entries}


def find_stars(hashes: Columns, limit: int) -> Columns:
    """Each value that shares a star with another: its cluster (the smallest key) and its distance.

    `hashes` are distinct values with their keys, in any order, whole components by `root`.
    """
    hashes = take(hashes, np.lexsort([hashes[name] for name in ("value", "row", "key_lo", "key_hi")]))
    values: U64 = hashes["value"]
    centres = star_centres(values, hashes["root"], limit)
    # a centre comes first of its star, so its key is the smallest there
    stars = {
        "value": values,
        "cluster_hi": hashes["key_hi"][centres],
        "cluster_lo": hashes["key_lo"][centres],
        "distance": distances(values, values[centres]).astype(np.int32),
    }
    return take(stars, np.bincount(centres, minlength=len(values))[centres] > 1)
