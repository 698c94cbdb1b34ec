"""Duplicates compete: of every cluster (and language) the best row stays.

Two rounds: `repeat` among rows that share a key, `picture` among those left that share an image. Whoever beats a row
may lose later: the row then bears the name of who stays in that one's place (within a round by `losers`, between rounds
by winners.py). The kinds of image nest (equal bytes, equal pixels, near hashes), so the rows of the coarsest cluster
meet in one partition and compete kind by kind, from fine to coarse. Rows held out for evaluation compete
as repeats alone; rows of one annotation source, several of which are about one image, compete in `picture`
with those of other sources alone.

Of a shard's rows that are equal in the finest kind the best alone is sent, so that one image on every row of
the corpus costs a candidate a shard; the others lose to whom it loses to at that kind, or to itself.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.clusters import followed
from filters.corpus_rules import Phash
from filters.hamming import distances
from filters.sketch import TURNS, turned_hashes
from pipelines.engines.step import At, Json, Piece
from pipelines.phases.dedup.signals import KINDS, PLACE, sketch_words
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    fingerprints,
    joined,
    key_words,
    mix,
    ordered,
    places_in,
    runs,
    take,
)
from pipelines.phases.select.candidates import Judge, Judged
from pipelines.phases.select.cuts import fails
from pipelines.sources.table import KINDS as SOURCE_KINDS

_DIGESTS = {"exact": "sha256", "pixels": "pixels"}

_ROUNDED = 8
"""Bits by which rounding may move the hash of a turned image twice."""

ROUNDS = {"repeat": ("repeat",), "picture": ("exact", "pixels", "phash")}

_ORDER = ("rank", "first", "second", "key_hi", "key_lo", "row")
"""What rows compete by: the smaller the better, the first named weighs most."""

_SHARDS_A_HOME = 64


class Contest:
    """Finds the losers of one round; writes them, with who stays in their place, sorted by row."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._folder = Folder(setup)
        self._kinds = ROUNDS[setup["round"]]
        self._round = setup["round"]
        self._partitions = int(setup["partitions"])
        self._lost = Lost(self._folder, setup)
        self._cuts = setup["cuts"]
        phash = self._judge.recipe.rules.get(Phash)
        self._distance = phash.distance if phash else 0
        self._turns = TURNS if phash and phash.turned else 1

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """The shard's candidates that are in a cluster, by the coarsest cluster they are in."""
        judged = self._judge.shard(task)
        takes_part = judged.candidate & ~fails(judged, self._judge.recipe, self._cuts)
        takes_part &= judged.removed == ""
        takes_part[self._lost.rows(judged.first)["row"]] = False
        if self._round != "repeat":
            takes_part &= ~judged.evaluation
        for kind in self._kinds:
            judged.clusters[kind] = np.where(self._on(judged, kind), judged.clusters[kind], "")
        clustered = np.any([judged.clusters[kind] != "" for kind in self._kinds], axis=0)
        chosen = np.flatnonzero(takes_part & clustered)
        if len(chosen) == 0:
            return
        entries, thinned = self._thinned(self._entries(judged, chosen))
        if len(thinned["row"]):
            self._folder.save(f"thinned-{self._round}", task["number"], thinned)
        yield (entries["group"] % np.uint64(self._partitions)).astype(np.int64), pa.table(entries)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The file of the partition's losers."""
        entries = ordered(columns_of(table), *_ORDER)
        found = self._losers(entries)
        return (
            {"path": self._folder.save(f"lost-{self._round}", partition, found)} if len(found["row"]) else {}
        )

    def _on(self, judged: Judged, kind: str) -> bool:
        # a repeat cannot be admitted: two samples would have one key
        return kind == "repeat" or bool(getattr(self._judge.recipe.rules_of(judged.source), kind))

    def _entries(self, judged: Judged, chosen: npt.NDArray[np.int64]) -> Columns:
        keys = judged.taken("key", chosen)
        key_hi, key_lo = key_words(keys)
        entries: Columns = {"row": judged.places[chosen], "key_hi": key_hi, "key_lo": key_lo}
        entries |= take(self._judge.ranks(judged), chosen)
        entries["annotated"] = np.full(len(chosen), SOURCE_KINDS[judged.source.kind].annotated)
        entries["variant"] = digests(self._judge.variants(judged).take(pa.array(chosen)))
        group = np.zeros(len(chosen), np.uint64)
        for kind in self._kinds:
            hi, lo = words(judged.clusters[kind][chosen])
            if kind in _DIGESTS:
                # the value itself: two clusters bear one name where images under one URL and caption differ
                value = fingerprints(judged.taken(_DIGESTS[kind], chosen))
                entries[f"{kind}_hi"] = np.where((hi | lo) != 0, value.hi | 1, 0)
                entries[f"{kind}_lo"] = np.where((hi | lo) != 0, value.lo, 0)
            else:
                entries[f"{kind}_hi"], entries[f"{kind}_lo"] = hi, lo
            # the last kind is the coarsest: all who meet in a finer cluster meet in it too
            group = np.where((hi | lo) != 0, mix(hi ^ mix(lo)), group)
        phash = pc.fill_null(judged.taken("phash", chosen), 0).to_numpy()
        entries |= {"group": group, "phash0": phash}
        if self._turns > 1:
            turned = turned_hashes(sketch_words(judged.taken("sketch", chosen)))
            entries |= {f"phash{turn}": turned[:, turn] for turn in range(1, self._turns)}
        return entries

    def _thinned(self, entries: Columns) -> tuple[Columns, Columns]:
        """A shard's candidates without those that are equal in the finest kind to a better one; and these.

        Of these `row` and its key, the better row `of` and its key. Rows of one annotation source are no rivals.
        """
        kind = self._kinds[0]
        variant = entries["variant"] * np.uint64(kind != "repeat")
        entries = ordered({**entries, "_variant": variant}, f"{kind}_hi", f"{kind}_lo", "_variant", *_ORDER)
        run = runs(entries[f"{kind}_hi"], entries[f"{kind}_lo"], entries.pop("_variant"))
        worse = (run != np.arange(len(run))) & ((entries[f"{kind}_hi"] | entries[f"{kind}_lo"]) != 0)
        if kind != "repeat":
            worse &= ~entries["annotated"]
        thinned = {"row": entries["row"][worse], "of": entries["row"][run[worse]]}
        for name in ("key_hi", "key_lo"):
            thinned |= {name: entries[name][run[worse]], f"own_{name}": entries[name][worse]}
        thinned["kind"] = np.full(len(thinned["row"]), KINDS.index(kind), np.uint8)
        return take(entries, ~worse), take(thinned, np.argsort(thinned["row"]))

    def _losers(self, entries: Columns) -> Columns:
        rows = len(entries["row"])
        winner, lost_at = np.arange(rows), np.zeros(rows, np.uint8)
        for kind in self._kinds:
            hi, lo = entries[f"{kind}_hi"], entries[f"{kind}_lo"]
            chosen = np.flatnonzero((winner == np.arange(rows)) & ((hi | lo) != 0))
            # of repeats one row stays, whatever its language
            variant = np.zeros(len(chosen), np.uint64) if kind == "repeat" else entries["variant"][chosen]
            order = chosen[np.lexsort((chosen, variant, lo[chosen], hi[chosen]))]
            variants = entries["variant"][order] if kind != "repeat" else np.zeros(len(order), np.uint64)
            best = order[runs(hi[order], lo[order], variants)] if len(order) else order
            beaten = best != order
            if kind != "repeat":
                beaten &= ~entries["annotated"][order] | (entries["rank"][order] != entries["rank"][best])
            if kind == "phash":
                beaten &= self._of_one_star(entries, order, best)
            winner[order[beaten]] = best[beaten]
            lost_at[order[beaten]] = KINDS.index(kind)
        return losers(entries, winner, lost_at)

    def _of_one_star(
        self, entries: Columns, which: npt.NDArray[np.int64], of: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Whether rows are of one star, whose members are within twice its radius; others only share its name."""
        hashes = entries["phash0"][which]
        apart = [distances(hashes, entries[f"phash{turn}"][of]) for turn in range(self._turns)]
        found: npt.NDArray[np.bool_] = (
            np.minimum.reduce(apart) <= 2 * self._distance + (self._turns > 1) * _ROUNDED
        )
        return found


def losers(entries: Columns, winner: npt.NDArray[np.int64], kind: npt.NDArray[np.uint8]) -> Columns:
    """Returns the entries that have another one for a winner, sorted by `row`: with `kind`, the key of who stays in
    their place (`winner` names who beat them, which another may have beaten later) and their `own_` key."""
    stays = followed(winner)
    lost = np.flatnonzero(stays != np.arange(len(stays)))
    lost = lost[np.argsort(entries["row"][lost])]
    found: Columns = {"row": entries["row"][lost], "kind": kind[lost]}
    for name in ("key_hi", "key_lo"):
        found |= {name: entries[name][stays[lost]], f"own_{name}": entries[name][lost]}
    return found


class Home:
    """Shuffles what a round found of rows to their shards; writes a file for some shards in a row, sorted by row."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._round = str(setup["round"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """A partition's rows, by where they lie."""
        found = self._folder.load(task["path"])
        yield home_of(found["row"] >> PLACE), pa.table(found)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The number of the file."""
        found = columns_of(table)
        self._folder.save(f"home-{self._round}", partition, take(found, np.argsort(found["row"])))
        return {"home": partition}


def home_of(number: Any) -> Any:
    """Which file of a round has the rows of the shard (or of each shard) of that number."""
    return number // _SHARDS_A_HOME


class Lost:
    """The losers of the rounds so far, shard by shard.

    `homes` names by round the files of losers that there are, `settled` those in which Settle names other winners.
    """

    def __init__(self, folder: Folder, setup: Json) -> None:
        self._folder = folder
        homes: Mapping[str, Sequence[int]] = {**setup["homes"], **setup["settled"]}
        self._files = {name: frozenset(numbers) for name, numbers in homes.items()}
        self._rounds, self._settled = tuple(setup["homes"]), tuple(setup["settled"])

    def rows(self, first: int) -> Columns:
        """The losers of the shard whose first row has that number, sorted by `row`, the place in the shard.

        With `round`, `kind`, the row's `own_` key, and who stays in its place: `key_hi`, `key_lo`, and whether that
        one is `capped`.
        """
        found = ordered(joined(list(self._parts(first))), "row")
        for name in self._settled:
            other = self._home(name, first)
            at = places_in(found["row"], other["row"])
            for column in _WINNER:
                found[column][at] = other[column]
        # a row that another one of the shard stood for has that one's winner, if it lost later
        while (at := places_in(found["row"], found["of"])).max(initial=-1) >= 0:
            behind = np.flatnonzero(at >= 0)
            for column in (*_WINNER, "of"):
                found[column][behind] = found[column][at[behind]]
        return {**found, "row": found["row"] - first}

    def _parts(self, first: int) -> Iterator[Columns]:
        """The losers of each round: those that were sent, and those that a better row of their shard stood for."""
        yield _LOSERS
        for number, name in enumerate(self._rounds):
            parts = [self._home(name, first)]
            path = self._folder.path(f"thinned-{name}", first >> PLACE)
            if self._folder.store.exists(path):
                parts.append(self._folder.load(path))
            given = {"round": number, "of": -1, "capped": 0}
            for part in parts:
                missing = given.keys() - part.keys()
                yield part | {
                    one: np.full(len(part["row"]), given[one], _LOSERS[one].dtype) for one in missing
                }

    def _home(self, name: str, first: int) -> Columns:
        """What a round, or what settled it, says of a shard's rows."""
        if home_of(first >> PLACE) not in self._files[name]:
            return _LOSERS
        path = self._folder.path(f"home-{name}", home_of(first >> PLACE))
        return self._folder.between(path, first, first + (1 << PLACE) - 1)


_WINNER: Final = ("key_hi", "key_lo", "capped")
_LOSERS: Final[Columns] = {
    "row": np.zeros(0, np.int64),
    "kind": np.zeros(0, np.uint8),
    "key_hi": np.zeros(0, np.uint64),
    "key_lo": np.zeros(0, np.uint64),
    "own_key_hi": np.zeros(0, np.uint64),
    "own_key_lo": np.zeros(0, np.uint64),
    "round": np.zeros(0, np.uint8),
    "of": np.zeros(0, np.int64),
    "capped": np.zeros(0, np.uint8),
}
"""No loser."""


def words(names: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Returns cluster keys as two words; zeros where there is none."""
    keys = pa.array(np.where(names == "", "0" * 32, names), pa.string())
    return key_words(keys)


def digests(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Returns a 64-bit digest for every text."""
    encoded = texts.dictionary_encode()
    words = [_digest(text) for text in encoded.dictionary.to_pylist()]
    return np.array(words, np.uint64)[encoded.indices.to_numpy()] if words else np.zeros(0, np.uint64)


def _digest(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )
