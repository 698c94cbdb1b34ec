"""Clusters of captions, equal or nearly equal, whatever the images.

A shard gives each caption once, with its smallest key, that key's row and the number of its rows. Captions that are
nearly equal are found as near images are (near.py): texts that share a band of MinHash (`Buckets`) get their texts
(`LeftTexts`, `RightTexts`), pairs whose Jaccard index is too small go, what is left makes components, and in each of
these a star takes the captions similar to its centre, the one with the smallest key. `Home` brings clusters back to
the shards.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.clusters import star_centres
from filters.minhash import BANDS, bands, jaccard, normalised, pairs_in_runs
from pipelines.engines.step import At, Json
from pipelines.layout import Layout
from pipelines.phases.dedup.near import Shuffle, find_components, saved_edges
from pipelines.phases.dedup.signals import PLACE
from pipelines.phases.dedup.tables import (
    U64,
    Columns,
    Folder,
    columns_of,
    cut,
    firsts,
    joined,
    key_words,
    ordered,
    runs,
    spread,
    stretches,
    take,
    totals,
)

HERE: Final = "captions"
REACH: Final = 8
"""Captions of one band are compared with so many others of it, and with its first."""
PER_MILLE: Final = 1000


def find_captions(
    shuffle: Shuffle, tasks: list[Json], similarity: float, partitions: int, groups: int
) -> list[Json]:
    """Returns receipts of files of memberships by row, one for each of `groups` groups of shards that has any.

    `tasks` are the shards whose captions are compared, `partitions` those of captions; `shuffle` runs a step of the
    phase with settings of its own.
    """
    near = similarity < 1
    found = shuffle(f"{HERE}:Captions", tasks, similarity=similarity)
    stars: dict[str, str] = {}
    if near:
        texts = {str(one["partition"]): one["texts"] for one in found}
        # a caption is an entry a band, so there are more partitions
        edges = shuffle(f"{HERE}:Buckets", [{"bands": one["bands"]} for one in found], 4 * partitions)
        for worker in ("LeftTexts", "RightTexts"):
            pairs: list[Json] = [{"path": one["path"]} for one in edges if one["edges"]]
            edges = shuffle(f"{HERE}:{worker}", pairs, texts=texts, similarity=similarity)
        roots = [one for one in find_components(shuffle, edges) if one["edges"]]
        labels = shuffle(f"{HERE}:Labels", [{"path": one["path"]} for one in roots], texts=texts)
        ends = shuffle(f"{HERE}:Stars", labels, similarity=similarity)
        home = shuffle("near:StarsHome", [one for one in ends if one["rows"]])
        stars = {partition: path for one in home for partition, path in one["stars"].items()}
    values: list[Json] = [
        {"entries": one["entries"], "stars": stars.get(str(one["partition"]))} for one in found
    ]
    return shuffle(f"{HERE}:Home", values, groups)


class Captions:
    """Shuffles every shard's captions by what they say.

    Writes for each partition `entries` (the captions that each shard holds, by caption, key and row) and, where nearly
    equal captions are asked for, `texts` (each caption once) and `bands` (its MinHash).
    """

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._layout = Layout(**setup["layout"])
        self._partitions = int(setup["into"])
        self._similarity = float(setup["similarity"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """Each caption of the shard once."""
        rows, texts = captions_of(self._folder, self._layout, task)
        entries = ordered({**rows, "at": np.arange(len(rows["row"]))}, "hi", "lo", "key_hi", "key_lo", "row")
        run = runs(entries["hi"], entries["lo"])
        entries["rows"] = np.bincount(run, minlength=len(run))
        entries = take(entries, run == np.arange(len(run)))
        at_ = entries.pop("at")
        table = pa.table(dict(entries))
        if self._similarity < 1:
            table = table.append_column("text", texts.take(pa.array(at_)))
        yield from _spread(table, entries["hi"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The partition's files."""
        order = np.lexsort([table[name].to_numpy() for name in ("row", "key_lo", "key_hi", "lo", "hi")])
        table = table.take(pa.array(order))
        entries = columns_of(table.select(_ENTRY))
        receipt: Json = {
            "partition": partition,
            "entries": self._folder.save("entries", partition, entries),
        }
        if self._similarity < 1:
            once = table.filter(pa.array(firsts(entries["hi"], entries["lo"]))).drop_columns(["rows"])
            receipt["texts"] = self._write("texts", partition, once)
            found = bands(once["text"].to_pylist(), self._similarity)
            columns = {f"band{band}": found[:, band] for band in range(BANDS)}
            receipt["bands"] = self._folder.save(
                "bands", partition, {"value": once["hi"].to_numpy(), **columns}
            )
        return receipt

    def _write(self, step: str, partition: int, table: pa.Table) -> str:
        path = self._folder.path(step, partition)
        self._folder.write(path, table, scratch=True)
        return path


_ENTRY: Final = ["hi", "lo", "key_hi", "key_lo", "row", "rows"]


class Buckets:
    """Shuffles captions by band; writes the pairs that share one, the larger value on the left."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["into"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """Each caption once for each band, whose number its value holds."""
        columns = self._folder.load(task["bands"])
        for band in range(BANDS):
            found = {"band": columns[f"band{band}"], "value": columns["value"]}
            yield from spread(found, found["band"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Pairs of the partition, each once."""
        rows = ordered(columns_of(table), "band", "value")
        pairs = [np.zeros((2, 0), np.uint64)]
        for one, other in pairs_in_runs(runs(rows["band"]), REACH):
            both = np.stack([rows["value"][one], rows["value"][other]])
            pairs.append(both[:, both[0] != both[1]])
        left, right = np.unique(np.concatenate(pairs, axis=1), axis=1)
        return saved_edges(self._folder, "buckets", partition, (left, right))


class LeftTexts:
    """Shuffles pairs by the caption on the left, and gives them its text."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["into"])
        self._texts: dict[str, str] = setup["texts"]

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """A file's pairs."""
        pairs = self._folder.load(task["path"])
        yield from spread(pairs, pairs["left"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The partition's pairs with the texts on the left; a pair that several bands gave once."""
        pairs = columns_of(table)
        left, right = np.unique(np.stack([pairs["left"], pairs["right"]]), axis=1)
        texts = _known(self._folder, self._texts[str(partition)], left)["text"]
        path = self._folder.path("left", partition)
        self._folder.write(path, pa.table({"left": left, "right": right, "text": texts}), scratch=True)
        return {"edges": len(left), "path": path}


class RightTexts:
    """Shuffles pairs by the caption on the right; writes those whose texts are similar."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["into"])
        self._texts: dict[str, str] = setup["texts"]
        self._similarity = float(setup["similarity"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """A file's pairs."""
        table = self._folder.read(task["path"])
        yield from _spread(table, table["right"].to_numpy(), self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The partition's pairs that are similar."""
        left, right = table["left"].to_numpy(), table["right"].to_numpy()
        texts = _known(self._folder, self._texts[str(partition)], right)["text"].to_pylist()
        similar = jaccard(table["text"].to_pylist(), texts) >= self._similarity
        order = np.lexsort((right[similar], left[similar]))
        edges = left[similar][order], right[similar][order]
        return saved_edges(self._folder, "similar", partition, edges)


class Labels:
    """Shuffles (value, root) to where the captions lie, and gives them their keys and texts."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["into"])
        self._texts: dict[str, str] = setup["texts"]

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
        """A file of captions with their roots."""
        # a root is the smallest value of its component, so it comes before the value itself
        labels = ordered(columns_of(table), "value", "root")
        labels = take(labels, firsts(labels["value"]))
        known = _known(self._folder, self._texts[str(partition)], labels["value"])
        path = self._folder.path("labels", partition)
        self._folder.write(path, known.append_column("root", pa.array(labels["root"])), scratch=True)
        return {"path": path}


class Stars:
    """Shuffles captions by component; writes the stars of each."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["into"])
        self._similarity = float(setup["similarity"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """A file's captions."""
        table = self._folder.read(task["path"])
        yield from _spread(table, table["root"].to_numpy(), self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The stars of the partition's components."""
        stars = find_stars(table, self._similarity)
        path = self._folder.save("stars-found", partition, stars)
        return {"rows": len(stars["value"]), "path": path}


def find_stars(captions: pa.Table, similarity: float) -> Columns:
    """Returns each caption that shares a star with another: its cluster, and how unlike the centre it is, per mille.

    `captions` are distinct, in any order, with `hi`, `lo`, their smallest key and its row, their `text`, and whole
    components by `root`.
    """
    order = np.lexsort([captions[name].to_numpy() for name in ("lo", "hi", "row", "key_lo", "key_hi")])
    captions = captions.take(pa.array(order))
    nodes = columns_of(captions.drop_columns(["text"]))
    texts = captions["text"].to_numpy()

    def alike(which: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return jaccard(texts[which].tolist(), texts[of].tolist())

    centres = star_centres(nodes["root"], lambda which, of: alike(which, of) >= similarity)
    apart = PER_MILLE * (1 - alike(np.arange(len(centres)), centres))
    stars = {
        "value": nodes["hi"],
        "lo": nodes["lo"],
        "cluster_hi": nodes["key_hi"][centres],
        "cluster_lo": nodes["key_lo"][centres],
        "distance": np.round(apart).astype(np.int32),
    }
    return take(stars, np.bincount(centres, minlength=len(centres))[centres] > 1)


class Home:
    """Shuffles what is known of captions to the shards that hold them; writes each row's cluster, sorted by row."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._layout = Layout(**setup["layout"])
        self._names = str(setup["names"])
        self._partitions = int(setup["into"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """What one partition knows, by shard."""
        known = self._clusters(self._folder.load(task["entries"]), task["stars"])
        yield from cut(known, known["shard"] % self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """A file for the partition's shards."""
        known = columns_of(table)
        known = take(known, np.argsort(known["shard"], kind="stable"))
        names = self._folder.read(self._names)
        parts = []
        for number, start, end in stretches(known["shard"]):
            task = {name: names[name][number].as_py() for name in ("source", "shard")}
            rows, _ = captions_of(self._folder, self._layout, {**task, "number": number})
            news = take(known, np.arange(start, end))
            found = _find(rows, news)
            cluster = take(news, found[found >= 0])
            mine = {name: cluster[name] for name in ("cluster_hi", "cluster_lo", "distance")}
            parts.append({"row": rows["row"][found >= 0], **mine})
        return {"partition": partition, "path": self._folder.save("home", partition, joined(parts))}

    def _clusters(self, entries: Columns, stars: str | None) -> Columns:
        """The captions of several rows or of a star, with their clusters."""
        run = runs(entries["hi"], entries["lo"])
        several = totals(run, entries["rows"]) > 1
        columns = {name: entries[name] for name in ("hi", "lo")}
        columns |= {"cluster_hi": entries["key_hi"][run], "cluster_lo": entries["key_lo"][run]}
        columns |= {"distance": np.zeros(len(run), np.int32), "shard": entries["row"] >> PLACE}
        if stars is not None:
            star = self._folder.load(stars)
            place = _find(entries, {**star, "hi": star.pop("value")})
            found = place >= 0
            for name in ("cluster_hi", "cluster_lo", "distance"):
                columns[name] = np.where(found, star[name][place], columns[name])
            several |= found
        return take(columns, several)


def _find(mine: Columns, news: Columns) -> npt.NDArray[np.int64]:
    """For each of `mine` the index of the news about its value, or -1."""
    hi = np.concatenate([news["hi"], mine["hi"]])
    lo = np.concatenate([news["lo"], mine["lo"]])
    order = np.lexsort((lo, hi))  # stable: news before what it is about
    head = np.empty(len(hi), np.int64)
    head[order] = order[runs(hi[order], lo[order])]
    found = head[len(news["hi"]) :]
    return np.where(found < len(news["hi"]), found, -1)


def captions_of(folder: Folder, layout: Layout, task: Json) -> tuple[Columns, Any]:
    """Returns the measured rows of a shard that have a caption, with its digest; and what the captions say."""
    table = folder.read(layout.path("signals", task["source"], task["shard"]), ["key", "error", "caption"])
    texts = normalised(table["caption"].combine_chunks())
    sound = pc.and_(pc.is_null(table["error"].combine_chunks()), pc.is_valid(texts))
    places = np.flatnonzero(sound.to_numpy(zero_copy_only=False))
    texts = texts.take(pa.array(places))
    key_hi, key_lo = key_words(table["key"].combine_chunks().take(pa.array(places)))
    hi, lo = _digests(texts)
    numbers = places + (int(task["number"]) << PLACE)
    return {"hi": hi, "lo": lo, "key_hi": key_hi, "key_lo": key_lo, "row": numbers}, texts


def _digests(texts: Any) -> tuple[U64, U64]:
    """The two halves of a digest of each text; others write captions, so it withstands an adversary."""
    once = texts.dictionary_encode()
    data = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in once.dictionary.to_pylist()]
    words = np.frombuffer(b"".join(data), ">u8").astype(np.uint64).reshape(-1, 2)[once.indices.to_numpy()]
    return words[:, 0], words[:, 1]


def _known(folder: Folder, path: str, values: U64) -> pa.Table:
    """What a file of texts knows of captions, by the first half of their digests; it holds them all."""
    table = folder.read(path)
    return table.take(pa.array(np.searchsorted(table["hi"].to_numpy(), values)))


def _spread(table: pa.Table, by: U64, partitions: int) -> Iterator[tuple[int, pa.Table]]:
    """The pieces of a table, each row in the partition of its value in `by`."""
    for number, places in spread({"place": np.arange(len(by))}, by, partitions):
        yield number, table.take(places["place"])
