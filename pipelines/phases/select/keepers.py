"""Duplicates compete: of every cluster (and language) the best row stays.

Two rounds: `repeat` among rows that share a key, `picture` among those left that share an image. The
kinds of image nest (equal bytes, equal pixels, near hashes), so the rows of the coarsest cluster
meet in one partition and compete kind by kind, from fine to coarse. Rows held out for evaluation compete
as repeats alone; rows of one annotation source, several of which are about one image, compete in `picture`
with those of other sources alone.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.corpus_rules import Phash
from filters.hamming import distances
from filters.sketch import TURNS, turned_hashes
from pipelines.engines.step import At, Json
from pipelines.phases.dedup.signals import KINDS, sketch_words
from pipelines.phases.dedup.tables import (
    Columns,
    Folder,
    columns_of,
    cut,
    fingerprints,
    joined,
    key_words,
    mix,
    ordered,
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


class Contest:
    """Finds the losers of one round; writes them, with whom they lost to, sorted by row."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._folder = Folder(setup)
        self._kinds = ROUNDS[setup["round"]]
        self._round = setup["round"]
        self._partitions = int(setup["partitions"])
        self._lost = [str(path) for path in setup["lost"]]
        self._cuts = setup["cuts"]
        phash = self._judge.recipe.rules.get(Phash)
        self._distance = phash.distance if phash else 0
        self._turns = TURNS if phash and phash.turned else 1

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The shard's candidates that are in a cluster, by the coarsest cluster they are in."""
        judged = self._judge.shard(task)
        takes_part = judged.candidate & ~fails(judged, self._judge.recipe, self._cuts)
        takes_part &= judged.removed == ""
        takes_part &= ~lost(self._folder, self._lost, judged)
        if self._round != "repeat":
            takes_part &= ~judged.evaluation
        for kind in self._kinds:
            judged.clusters[kind] = np.where(self._on(judged, kind), judged.clusters[kind], "")
        clustered = np.any([judged.clusters[kind] != "" for kind in self._kinds], axis=0)
        chosen = np.flatnonzero(takes_part & clustered)
        if len(chosen) == 0:
            return
        entries = self._entries(judged, chosen)
        yield from cut(entries, (entries["group"] % np.uint64(self._partitions)).astype(np.int64))

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The partition's losers: `row`, `kind` (the first it lost at) and the winner's key."""
        entries = ordered(columns_of(table), "rank", "first", "second", "key_hi", "key_lo", "row")
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


def lost(folder: Folder, paths: list[str], judged: Judged) -> npt.NDArray[np.bool_]:
    """Which of a shard's rows are among the losers that earlier rounds wrote."""
    mask = np.zeros(judged.signals.num_rows, np.bool_)
    mask[losses(folder, paths, judged)["row"]] = True
    return mask


def losses(folder: Folder, paths: list[str], judged: Judged) -> Columns:
    """A shard's losers: `row` (its place in the shard), `kind`, and the winner's `key_hi`, `key_lo`."""
    last = judged.first + max(judged.signals.num_rows - 1, 0)
    parts = [folder.between(path, judged.first, last) for path in paths]
    names = {"row": np.int64, "kind": np.uint8, "key_hi": np.uint64, "key_lo": np.uint64}
    empty = {name: np.zeros(0, kind) for name, kind in names.items()}
    whole = {name: np.concatenate([part[name] for part in [empty, *parts]]) for name in names}
    whole["row"] = (whole["row"] - judged.first).astype(np.int64)
    return whole


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
