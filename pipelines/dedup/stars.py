"""Stars of near hashes: by one worker for all, or component by component for many."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from filters.clusters import components, forest, star_centres
from filters.hamming import U64, distances, near_edges
from pipelines.dedup.tables import Columns, Folder, columns_of, spread, take
from pipelines.dedup.values import runs
from pipelines.engines.step import At, Json


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
