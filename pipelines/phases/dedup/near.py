"""Stars of near perceptual hashes: pairs within the distance, their connected components, the stars of each.

Few hashes are left to one worker (`StarsAlone`). Many are spread: `NearPairs` finds the pairs bucket by bucket,
`Components` joins them (by one worker where pairs are few, else in rounds), `Labels` gives the hashes their keys and
roots, `Stars` finds the stars of each component, and `StarsHome` brings them back to where their values lie.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from filters.clusters import components, forest, large_star, small_star, star_centres
from filters.hamming import U64, Edges, block_masks, bucket_edges, distances, near_edges
from pipelines.engines.step import At, Json
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    firsts,
    joined,
    mix,
    ordered,
    spread,
    take,
)

ALONE: Final = 4_000_000
"""So many edges are left to one worker (about 500 MB)."""
MOST_ROUNDS: Final = 64


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

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The edges by the value whose star they shape; for large stars in both directions."""
        edges = self._folder.load(task["path"])
        if self._turn == "large":
            edges = joined([edges, {"left": edges["right"], "right": edges["left"]}])
        yield from spread(edges, edges["left"], self._partitions)

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
    entries = take(entries, firsts(entries["hi"]))
    return {"value": entries.pop("hi"), **entries}


def find_stars(hashes: Columns, limit: int) -> Columns:
    """Each value that shares a star with another: its cluster (the smallest key) and its distance.

    `hashes` are distinct values with their keys, in any order, whole components by `root`.
    """
    hashes = ordered(hashes, "key_hi", "key_lo", "row", "value")
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
