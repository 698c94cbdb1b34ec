"""Stars of near perceptual hashes: pairs within the distance, their connected components, the stars of each.

Few hashes are left to one worker (`NearAlone`). Many are spread: `NearPairs` finds the pairs bucket by bucket,
`Components` joins them (by one worker where pairs are few, else in rounds), `Labels` gives the hashes their keys and
roots. `Sketches` then fetches the sketches of the images of those alone that may share a star, `Stars` finds the stars
of each component, and `StarsHome` brings them back to where their values lie.

What is compared is a hash with a sketch: images of one hash may differ in their sketches, and then share no star.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.clusters import I64, components, forest, large_star, small_star, star_centres
from filters.hamming import U64, Edges, block_masks, bucket_edges, distances, near_edges
from filters.sketch import WORDS, alike, turned_hashes, weak
from filters.sketch import turned as turn_sketches
from pipelines.engines.step import At, Json, Piece
from pipelines.phases.dedup.signals import PLACE, Shards
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    firsts,
    joined,
    mix,
    ordered,
    repeated,
    runs,
    sent,
    spread,
    stretches,
    take,
)

ALONE: Final = 4_000_000
"""So many edges are left to one worker (about 500 MB)."""
MOST_ROUNDS: Final = 64


class NearPairs:
    """Shuffles distinct hashes by bucket, slices of them for each of some masks; writes forests of edges.

    These are as many masks as there are partitions for, from the `first` on.
    """

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._distance = int(setup["distance"])
        self._slices = int(setup["slices"])
        self._masks = block_masks(self._distance, int(setup["distinct"]))
        self._first, self._count = int(setup["first"]), int(setup["into"]) // self._slices

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """Each hash once for each mask, those of turned images too."""
        if "turned" in task:
            values = _distinct(np.sort(self._folder.column(task["turned"], "value")))
        else:
            values = _distinct(self._folder.column(task["hashes"], "hi"))
        for number in range(self._count):
            mask = self._masks[self._first + number]
            slices, table = sent({"value": values}, values & mask, self._slices)
            yield number * self._slices + slices, table

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Edges that connect whatever is near within the partition's buckets."""
        # the hash of a turned image may be that of another image too
        values = _distinct(np.sort(table["value"].to_numpy()))
        number = self._first + partition // self._slices
        edges = forest(bucket_edges(values, self._masks, number, self._distance))
        return saved_edges(self._folder, "near", self._first * self._slices + partition, edges)


def _distinct(values: U64) -> U64:
    """The distinct ones of sorted values; np.unique takes a hundred times the time."""
    distinct: U64 = values[firsts(values)]
    return distinct


def saved_edges(folder: Folder, step: str, partition: int, edges: Edges) -> Json:
    """The receipt of a file of edges: how many, where, and a sum that shows whether they changed."""
    left, right = edges
    receipt: Json = {"edges": len(left), "digest": int(mix(left ^ mix(right)).sum(dtype=np.uint64))}
    if len(left):
        receipt["path"] = folder.save(step, partition, {"left": left, "right": right})
    return receipt


Shuffle = Callable[..., list[Json]]
"""Runs a step of the phase: its worker, tasks, partitions (None: the plan's), further settings by name."""


class Components:
    """Shuffles edges to one partition, or in rounds of stars; an edge is (value, root) in the end."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["into"])
        self._turn = str(setup["turn"])
        self._step = str(setup["step"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """The edges by the value whose star they shape; for large stars in both directions."""
        edges = self._folder.load(task["path"])
        if self._turn == "large":
            edges = joined([edges, {"left": edges["right"], "right": edges["left"]}])
        yield sent(edges, edges["left"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The partition's edges after the step."""
        edges = columns_of(table)
        left, right = edges["left"], edges["right"]
        match self._turn:
            case "whole":
                found = forest([(left, right)])
            case "large":
                found = large_star(left, right)
            case _:
                found = small_star(left, right)
        return saved_edges(self._folder, self._step, partition, found)


def find_components(shuffle: Shuffle, edges: list[Json]) -> list[Json]:
    """Receipts of files of (value, root), given those of near pairs (left > right).

    Values that are in no file are components by themselves. `shuffle` runs a step of this module.
    """

    def turn(edges: list[Json], shape: str, step: str) -> list[Json]:
        tasks = [{"path": receipt["path"]} for receipt in edges if receipt["edges"]]
        return shuffle("near:Components", tasks, 1 if shape == "whole" else None, turn=shape, step=step)

    if sum(receipt["edges"] for receipt in edges) <= ALONE:
        return turn(edges, "whole", "components")
    for count in range(MOST_ROUNDS):
        smaller = turn(turn(edges, "large", f"large-{count}"), "small", f"small-{count}")
        if _state(smaller) == _state(edges):
            return smaller
        edges = smaller
    raise RuntimeError(f"components did not settle in {MOST_ROUNDS} rounds")


def _state(edges: list[Json]) -> tuple[int, int]:
    """How many edges there are, and a sum over them: equal for equal sets, wherever they lie."""
    count = sum(receipt["edges"] for receipt in edges)
    return count, sum(receipt["digest"] for receipt in edges) % (1 << 64)


_NODES: Final = ["value", "lo", "key_hi", "key_lo", "row", "of"]


class NearAlone:
    """Brings all distinct hashes to one worker; writes those that may share a star with another, with their roots."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._distance = int(setup["distance"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """The partition's hashes, each with its smallest key; those of turned images with what they are turned from."""
        if task["hashes"]:
            nodes = nodes_of(self._folder, task["hashes"])
            yield 0, pa.table({**nodes, "of": nodes["value"]}).select(_NODES)
        if task["turned"]:
            turned = self._folder.load(task["turned"])
            zeros = np.zeros(len(turned["value"]), np.uint64)
            keys: Columns = {"lo": zeros, "key_hi": zeros, "key_lo": zeros, "row": np.full(len(zeros), -1)}
            yield 0, pa.table({**turned, **keys}).select(_NODES)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """A file of hashes with their keys and roots."""
        rows = columns_of(table)
        edges = forest(self._edges(_distinct(np.sort(rows["value"])), rows))
        nodes = take(rows, rows["row"] >= 0)
        del nodes["of"]
        values, roots = components(*edges)
        labelled = _labelled(ordered(nodes, "value", "lo"), values, roots)
        return {"path": self._folder.save("labels", partition, labelled), "rows": len(labelled["value"])}

    def _edges(self, values: U64, rows: Columns) -> Iterator[Edges]:
        yield from near_edges(values, self._distance)
        yield ties(rows)


def ties(rows: Columns) -> Edges:
    """Edges between hashes of turned images (`value`) and what they are turned from (`of`)."""
    apart = rows["value"] != rows["of"]
    value, of = rows["value"][apart], rows["of"][apart]
    return np.maximum(value, of), np.minimum(value, of)


def _labelled(nodes: Columns, values: U64, roots: U64) -> Columns:
    """The nodes that may share a star: those whose hash has a root, and those whose hash has several sketches.

    `nodes` and `values` are sorted.
    """
    nodes = {**nodes, "root": nodes["value"].copy()}
    chosen = repeated(nodes["value"])
    first, end = (np.searchsorted(nodes["value"], values, side) for side in ("left", "right"))
    held = end > first
    nodes["root"][first[held]], chosen[first[held]] = roots[held], True
    # the others of the same hash stand behind its first
    run = runs(nodes["value"])
    return take({**nodes, "root": nodes["root"][run]}, chosen)


class Labels:
    """Shuffles (value, root) to where the hashes lie, and gives them their keys."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["partitions"])
        self._hashes: dict[str, str] = setup["hashes"]

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """Each value with its root, and each root with itself; hashes of several sketches with themselves."""
        if "hashes" in task:
            several = self._folder.column(task["hashes"], "hi")
            several = _distinct(several[repeated(several)])
            labels = {"value": several, "root": several}
        else:
            edges = self._folder.load(task["path"])
            roots = _distinct(np.sort(edges["right"]))
            labels = {
                "value": np.concatenate([edges["left"], roots]),
                "root": np.concatenate([edges["right"], roots]),
            }
        yield sent(labels, labels["value"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """A file of hashes with their keys and roots."""
        if str(partition) not in self._hashes:
            return {"rows": 0}  # hashes of turned images alone
        # a root is the smallest value of its component, so it comes before the value itself
        labels = ordered(columns_of(table), "value", "root")
        labels = take(labels, firsts(labels["value"]))
        nodes = nodes_of(self._folder, self._hashes[str(partition)])
        labelled = _labelled(nodes, labels["value"], labels["root"])
        return {"path": self._folder.save("labels", partition, labelled), "rows": len(labelled["value"])}


class Sketches:
    """Shuffles labelled hashes to their shards, and gives them the sketches of their images."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._shards = Shards(self._folder, setup)
        self._names = str(setup["names"])
        self._partitions = int(setup["into"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """A file's hashes by shard."""
        labelled = self._folder.load(task["path"])
        yield (labelled["row"] >> PLACE) % self._partitions, pa.table(labelled)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """A file of the partition's hashes with their sketches, a column a word."""
        labelled = ordered(columns_of(table), "row", "value", "lo")
        names = self._folder.read(self._names)
        parts = []
        for number, start, end in stretches(labelled["row"] >> PLACE):
            source, shard = (names[column][number].as_py() for column in ("source", "shard"))
            parts.append(self._shards.sketches(number, source, shard, labelled["row"][start:end]))
        words = np.concatenate(parts)
        sketches = {f"sketch{word}": words[:, word] for word in range(WORDS)}
        return {"path": self._folder.save("sketches", partition, {**labelled, **sketches})}


class Stars:
    """Shuffles hashes with their sketches by component; writes the stars of each, by the partition of their values.

    One worker for all components (`into` 1) writes where the values lie; of several each writes one file, which
    `StarsHome` brings there.
    """

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._distance = int(setup["distance"])
        self._turned = bool(setup["turned"])
        self._partitions = int(setup["partitions"])
        self._into = int(setup["into"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """A file's hashes by root."""
        labelled = self._folder.load(task["path"])
        yield sent(labelled, labelled["root"], self._into)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Files of the stars of the partition's components."""
        stars = find_stars(columns_of(table), self._distance, self._turned)
        if self._into > 1:
            return {"path": self._folder.save("stars-found", partition, stars)}
        pieces = spread(stars, stars["value"], self._partitions)
        return {"stars": {str(p): self._folder.save("stars", p, columns_of(piece)) for p, piece in pieces}}


class StarsHome:
    """Shuffles stars back to where their values lie."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["partitions"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """A file's stars by value."""
        stars = self._folder.load(task["path"])
        yield sent(stars, stars["value"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """One file for the partition."""
        return {"stars": {str(partition): self._folder.save("stars", partition, columns_of(table))}}


def nodes_of(folder: Folder, path: str) -> Columns:
    """The distinct hashes and sketches of a file, ascending, each with its smallest key and that key's first row."""
    entries = folder.load(path, "hi", "lo", "key_hi", "key_lo", "row")
    return {"value": entries.pop("hi"), **entries}


def find_stars(nodes: Columns, limit: int, turned: bool) -> Columns:
    """Each hash and sketch that shares a star with another: its cluster (the smallest key) and its distance.

    `nodes` are distinct hashes and sketches with their keys, in any order, whole components by `root`.
    """
    nodes = ordered(nodes, "key_hi", "key_lo", "row", "value", "lo")
    likeness = Likeness(nodes, limit, turned)
    centres = star_centres(nodes["root"], likeness.near)
    # a centre comes first of its star, so its key is the smallest there
    stars = {
        "value": nodes["value"],
        "lo": nodes["lo"],
        "cluster_hi": nodes["key_hi"][centres],
        "cluster_lo": nodes["key_lo"][centres],
        "distance": likeness.distance(np.arange(len(centres)), centres).astype(np.int32),
    }
    return take(stars, np.bincount(centres, minlength=len(centres))[centres] > 1)


class Likeness:
    """Says which of some images are near others: hashes within the limit, and sketches that agree.

    Where `turned`, an image is near another in any of its eight turns.
    """

    def __init__(self, nodes: Columns, limit: int, turned: bool) -> None:
        self._values: U64 = nodes["value"]
        self._sketches = np.stack([nodes[f"sketch{word}"] for word in range(WORDS)], axis=1)
        self._weak = weak(self._sketches)
        self._limit = limit
        self._turned = turned_hashes(self._sketches)[:, 1:].T if turned else ()

    def near(self, which: I64, of: I64) -> npt.NDArray[np.bool_]:
        """Returns for each image of `which` whether it is near the image of `of` at the same place."""
        found: npt.NDArray[np.bool_] = which == of
        for turn, hashes in enumerate((self._values, *self._turned)):
            maybe = np.flatnonzero(~found & (distances(self._values[which], hashes[of]) <= self._limit))
            one, other = which[maybe], of[maybe]
            shown = turn_sketches(self._sketches[other], turn) if turn else self._sketches[other]
            found[maybe] = alike(self._sketches[one], shown, self._weak[one] | self._weak[other])
        return found

    def distance(self, which: I64, of: I64) -> npt.NDArray[np.uint8]:
        """Returns the bits between the hashes of images, in the turn that has the fewest."""
        apart = [distances(self._values[which], hashes[of]) for hashes in (self._values, *self._turned)]
        least: npt.NDArray[np.uint8] = np.minimum.reduce(apart)
        return least
