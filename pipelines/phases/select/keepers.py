"""Duplicates compete: of every cluster (and language) the best row stays.

Two rounds: `repeat` among rows that share a key, `picture` among those left that share an image. The
kinds of image nest (equal bytes, equal pixels, near hashes), so the rows of the coarsest cluster
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
    """Finds the losers of one round; writes them, with whom they lost to, sorted by row."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._folder = Folder(setup)
        self._kinds = ROUNDS[setup["round"]]
        self._round = setup["round"]
        self._partitions = int(setup["partitions"])
        self._lost = Lost(self._folder, setup["homes"])
        self._cuts = setup["cuts"]
        phash = self._judge.recipe.rules.get(Phash)
        self._distance = phash.distance if phash else 0
        self._turns = TURNS if phash and phash.turned else 1

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """The shard's candidates that are in a cluster, by the coarsest cluster they are in."""
        judged = self._judge.shard(task)
        takes_part = judged.candidate & ~fails(judged, self._judge.recipe, self._cuts)
        takes_part &= judged.removed == ""
        lost = self._lost.rows(judged)
        takes_part[lost["row"]] = False
        if self._round != "repeat":
            takes_part &= ~judged.evaluation
        for kind in self._kinds:
            judged.clusters[kind] = np.where(self._on(judged, kind), judged.clusters[kind], "")
        clustered = np.any([judged.clusters[kind] != "" for kind in self._kinds], axis=0)
        chosen = np.flatnonzero(takes_part & clustered)
        # the losers of the round before stand here too: who reads this file need not look for them
        known = {**lost, "row": lost["row"] + judged.first, "of": np.full(len(lost["row"]), -1)}
        if len(chosen):
            entries, thinned = self._thinned(self._entries(judged, chosen))
            known = joined([known, thinned])
        if len(known["row"]):
            self._folder.save(f"thinned-{self._round}", task["number"], known)
        if len(chosen) == 0:
            return
        yield (entries["group"] % np.uint64(self._partitions)).astype(np.int64), pa.table(entries)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The partition's losers: `row`, `kind` (the first it lost at) and the winner's key."""
        entries = ordered(columns_of(table), *_ORDER)
        losers = self._losers(entries)
        if not len(losers["row"]):
            return {}
        losers = take(losers, np.argsort(losers["row"]))
        return {"path": self._folder.save(f"lost-{self._round}", partition, losers)}

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

        Of these `row`, the better row `of` and its key. Rows of one annotation source are no rivals.
        """
        kind = self._kinds[0]
        variant = entries["variant"] * np.uint64(kind != "repeat")
        entries = ordered({**entries, "_variant": variant}, f"{kind}_hi", f"{kind}_lo", "_variant", *_ORDER)
        run = runs(entries[f"{kind}_hi"], entries[f"{kind}_lo"], entries.pop("_variant"))
        worse = (run != np.arange(len(run))) & ((entries[f"{kind}_hi"] | entries[f"{kind}_lo"]) != 0)
        if kind != "repeat":
            worse &= ~entries["annotated"]
        thinned = {"row": entries["row"][worse], "of": entries["row"][run[worse]]}
        thinned |= {name: entries[name][run[worse]] for name in ("key_hi", "key_lo")}
        thinned["kind"] = np.full(len(thinned["row"]), KINDS.index(kind), np.uint8)
        return take(entries, ~worse), take(thinned, np.argsort(thinned["row"]))

    def _losers(self, entries: Columns) -> Columns:
        alive = np.ones(len(entries["row"]), np.bool_)
        found: list[Columns] = []
        for kind in self._kinds:
            hi, lo = entries[f"{kind}_hi"], entries[f"{kind}_lo"]
            chosen = np.flatnonzero(alive & ((hi | lo) != 0))
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
            losers, winners = order[beaten], best[beaten]
            alive[losers] = False
            found.append(
                {
                    "row": entries["row"][losers],
                    "kind": np.full(len(losers), KINDS.index(kind), np.uint8),
                    "key_hi": entries["key_hi"][winners],
                    "key_lo": entries["key_lo"][winners],
                }
            )
        return joined(found)

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


class Home:
    """Shuffles the losers of one round to their shards; writes a file for some shards in a row, sorted by row."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._round = str(setup["round"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """A partition's losers, by where they lie."""
        losers = self._folder.load(task["path"])
        yield home_of(losers["row"] >> PLACE), pa.table(losers)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The number of the file."""
        losers = columns_of(table)
        losers = take(losers, np.argsort(losers["row"]))
        self._folder.save(f"home-{self._round}", partition, losers)
        return {"home": partition}


def home_of(number: Any) -> Any:
    """Which file of losers has those of the shard (or of each shard) of that number."""
    return number // _SHARDS_A_HOME


class Lost:
    """The losers of the rounds so far, shard by shard; `homes` names by round the files of losers that there are."""

    def __init__(self, folder: Folder, homes: Mapping[str, Sequence[int]]) -> None:
        self._folder = folder
        before = (
            {"repeat"} if "picture" in homes else set()
        )  # what the second round found has the first one's too
        self._homes = {name: frozenset(numbers) for name, numbers in homes.items() if name not in before}

    def rows(self, judged: Judged) -> Columns:
        """A shard's losers: `row` (its place in the shard), `kind`, and the winner's `key_hi`, `key_lo`."""
        parts = [_LOSERS, *(part for name in self._homes for part in self._of(name, judged))]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in _LOSERS}
        rows["row"] = rows["row"] - judged.first
        return rows

    def _of(self, name: str, judged: Judged) -> Iterator[Columns]:
        """The losers of a round: those that were sent, and those that a better row of their shard stood for."""
        number = judged.first >> PLACE
        losers = _LOSERS
        if home_of(number) in self._homes[name]:
            last = judged.first + max(judged.signals.num_rows - 1, 0)
            losers = self._folder.between(
                self._folder.path(f"home-{name}", home_of(number)), judged.first, last
            )
            yield losers
        path = self._folder.path(f"thinned-{name}", number)
        if not self._folder.store.exists(path):
            return
        thinned = self._folder.load(path)
        at = places_in(losers["row"], thinned["of"])
        # a row that stood for others and lost at a coarser kind only is itself the one they lost to
        beaten = np.flatnonzero(at >= 0)
        beaten = beaten[losers["kind"][at[beaten]] == thinned["kind"][beaten]]
        for key in ("key_hi", "key_lo"):
            thinned[key] = thinned[key].copy()
            thinned[key][beaten] = losers[key][at[beaten]]
        yield thinned


_LOSERS: Final[Columns] = {
    "row": np.zeros(0, np.int64),
    "kind": np.zeros(0, np.uint8),
    "key_hi": np.zeros(0, np.uint64),
    "key_lo": np.zeros(0, np.uint64),
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
