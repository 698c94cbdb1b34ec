"""Duplicates compete: of every cluster (and language) the best row stays.

Two rounds: `repeat` among rows that share a key, `picture` among those left that share an image. Whoever beats a row
may lose later: the row then bears the name of who stays in that one's place (within a round by `losers`, between rounds
by winners.py). After each round the losers of all rounds so far lie in one file for some shards (Home), so that a step
opens one file a shard for them, whatever the number of rounds.

The kinds of image nest (equal bytes, equal pixels, near hashes), so the rows of the coarsest cluster meet in one
partition and compete kind by kind, from fine to coarse. Rows held out for evaluation compete as repeats alone; rows of
one annotation source, several of which are about one image, compete in `picture` with those of other sources alone.

Of a shard's rows that are equal in the finest kind the best alone is sent, so that one image on every row of
the corpus costs a candidate a shard; the others lose to whom it loses to at that kind, or to itself. Equal images wait
for this in a file of their shard; which rows repeat another one of their shard every step finds out anew (Lost).
"""

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
from pipelines.phases.dedup.signals import KINDS, PLACE, REPEAT, batches, sketch_words
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
    stretches,
    take,
)
from pipelines.phases.select.candidates import Judge
from pipelines.phases.select.cuts import fails
from pipelines.phases.select.judged import Judged
from pipelines.sources.table import KINDS as SOURCE_KINDS

_DIGESTS = {"exact": "sha256", "pixels": "pixels"}

_ROUNDED = 8
"""Bits by which rounding may move the hash of a turned image twice."""

ROUNDS = {"repeat": ("repeat",), "picture": ("exact", "pixels", "phash")}

_ORDER = ("rank", "first", "second", "key_hi", "key_lo", "row")
"""What rows compete by: the smaller the better, the first named weighs most."""

_SHARDS_A_HOME = 64
"""A task of select has shards of one home, so this bounds a task too."""
_ROWS_A_HOME = 2_000_000
"""One worker holds all losers of a home, at 50 bytes each."""

THINNED: Final = "thinned"
"""The files of equal images, shard by shard."""

STAYS: Final = 255
"""The kind of a row that loses to none, and stands for others of its shard."""


class Contest:
    """Finds the losers of one round; writes them, with who stays in their place, sorted by row."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._folder = Folder(setup)
        self._kinds = ROUNDS[setup["round"]]
        self._round = setup["round"]
        self._partitions = int(setup["partitions"])
        self._lost = Lost(self._judge, setup)
        self._cuts = setup["cuts"]
        phash = self._judge.recipe.rules.get(Phash)
        self._distance = phash.distance if phash else 0
        self._turns = TURNS if phash and phash.turned else 1

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """The candidates that are in a cluster, by the coarsest cluster they are in."""
        judged = self._judge.load(task)
        takes_part = judged.candidate & ~fails(judged, self._judge.recipe, self._cuts)
        takes_part &= judged.removed == ""
        takes_part[self._lost.rows(judged)["row"]] = False
        if self._round != "repeat":
            takes_part &= ~judged.evaluation
        for kind in self._kinds:
            judged.clusters[kind] = np.where(self._on(judged, kind), judged.clusters[kind], "")
        clustered = np.any([judged.clusters[kind] != "" for kind in self._kinds], axis=0)
        chosen = np.flatnonzero(takes_part & clustered)
        if len(chosen) == 0:
            return
        entries = self._entries(judged, chosen)
        if self._round != "repeat":
            entries, thinned = self._thinned(entries)
            thinned = ordered(thinned, "row")
            for shard, start, end in stretches(thinned["row"] >> PLACE):
                self._folder.save(THINNED, shard, take(thinned, np.arange(start, end)))
        yield (entries["group"] % np.uint64(self._partitions)).astype(np.int64), pa.table(entries)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The file of the partition's losers, and of those that stay and stand for others of their shard."""
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
        entries["stands"] = np.zeros(len(chosen), np.bool_)
        entries["variant"] = judged.taken("variant", chosen).to_numpy()
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
        """The candidates without those that are equal in the finest kind to a better one of their shard; and these.

        Of these `row` and its key, the better row `of` and its key. Rows of one annotation source are no rivals.
        """
        kind = self._kinds[0]
        shards = {**entries, "shard": entries["row"] >> PLACE}
        entries = ordered(shards, "shard", f"{kind}_hi", f"{kind}_lo", "variant", *_ORDER)
        run = runs(entries.pop("shard"), entries[f"{kind}_hi"], entries[f"{kind}_lo"], entries["variant"])
        worse = (run != np.arange(len(run))) & ((entries[f"{kind}_hi"] | entries[f"{kind}_lo"]) != 0)
        worse &= ~entries["annotated"]
        entries["stands"][run[worse]] = True
        return take(entries, ~worse), _behind(entries, run, worse, KINDS.index(kind))

    def _losers(self, entries: Columns) -> Columns:
        rows = len(entries["row"])
        winner, lost_at = np.arange(rows), np.full(rows, STAYS, np.uint8)
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
    their place (`winner` names who beat them, which another may have beaten later) and their `own_` key; and those
    that `stands` says stand for others of their shard."""
    stays = followed(winner)
    stands = entries.get("stands", np.zeros(len(stays), np.bool_))
    named = np.flatnonzero((stays != np.arange(len(stays))) | stands)
    named = named[np.argsort(entries["row"][named])]
    found: Columns = {"row": entries["row"][named], "kind": kind[named], "stands": stands[named]}
    for name in ("key_hi", "key_lo"):
        found |= {name: entries[name][stays[named]], f"own_{name}": entries[name][named]}
    return found


class Home:
    """Shuffles what a round found of rows to their shards; writes a file for some shards in a row, sorted by row.

    `brings` says what comes: "losers" are added to those of earlier rounds, "winners" replace those that these name,
    and "caps" lie alone.
    """

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._round, self._brings = str(setup["round"]), str(setup["brings"])
        self._known, self._homes = Known(setup), Homes(setup["starts"])
        self._number = len(setup["homes"])

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """A partition's rows, by where they lie."""
        found = self._folder.load(task["path"])
        yield self._homes.of(found["row"] >> PLACE), pa.table(found)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The number of the file."""
        found = columns_of(table)
        if self._brings == "losers":
            found = self._with_losers(self._known.home(partition), found)
        elif self._brings == "winners":
            found = self._with_winners(self._known.home(partition), found)
        self._folder.save(f"home-{self._round}", partition, ordered(found, "row"))
        return {"home": partition}

    def _with_losers(self, known: Columns, found: Columns) -> Columns:
        """The losers known so far with those of a round: those that were sent, and those that they stood for."""
        shards = np.unique(found["row"][found["stands"]] >> PLACE).tolist()
        parts = [take(found, found["kind"] != STAYS)]
        parts += [self._folder.load(self._folder.path(THINNED, shard)) for shard in shards]
        lost = ordered(joined([known, *(_complete(part, self._number) for part in parts)]), "row")
        return lost | _winners(lost, lost)

    def _with_winners(self, known: Columns, found: Columns) -> Columns:
        """The losers known so far, with the winners that were found for some of them."""
        at = places_in(known["row"], found["row"])
        for name in _WINNER:
            known[name] = known[name].copy()
            known[name][at] = found[name]
        return known | _winners(known, known)


def home_starts(rows: Sequence[int]) -> list[int]:
    """Returns the number of the first shard of each home, given each shard's rows."""
    return [start for start, _ in batches(rows, _ROWS_A_HOME, _SHARDS_A_HOME)]


class Homes:
    """The files in which the losers of a round lie, one for some shards in a row, from each of `starts` on."""

    def __init__(self, starts: Sequence[int]) -> None:
        self._starts = np.array(starts, np.int64)

    def of(self, numbers: Any) -> Any:
        """Returns which file has the rows of the shard (or of each shard) of that number."""
        return np.searchsorted(self._starts, numbers, side="right") - 1


class Known:
    """The losers that the rounds so far brought home; `homes` names, in their order, the files that each wrote."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._homes = Homes(setup["starts"])
        self._newest = {number: name for name, numbers in setup["homes"].items() for number in numbers}

    def home(self, number: int) -> Columns:
        """The losers of the shards that share the file of that number; sorted by `row`, numbers in the corpus.

        With the number of the `round`, `kind`, the row's `own_` key, and who stays in its place: `key_hi`, `key_lo`,
        and whether that one is `capped`; `of` is the row of its shard that stood for it, or -1.
        """
        return self._folder.load(self._path(number)) if number in self._newest else _complete(_NONE, 0)

    def among(self, numbers: npt.NDArray[np.int64]) -> Columns:
        """The losers among rows by their numbers, ascending; the shards of all of these share a file."""
        number = int(self._homes.of(int(numbers[0]) >> PLACE)) if len(numbers) else -1
        if number not in self._newest:
            return _complete(_NONE, 0)
        return self._folder.between(self._path(number), int(numbers[0]), int(numbers[-1]))

    def _path(self, number: int) -> str:
        return self._folder.path(f"home-{self._newest[number]}", number)


class Lost:
    """The losers so far, table by table: those that came home, and those that repeat a better row of their shard."""

    def __init__(self, judge: Judge, setup: Json) -> None:
        self._judge = judge
        self._known = Known(setup)
        self._cuts = setup["cuts"]

    def rows(self, judged: Judged) -> Columns:
        """The losers, sorted by `row`, the place in the table; columns as in Known."""
        known, own = self._known.among(judged.places), self._own_repeats(judged)
        own |= _winners(own, known)
        found = ordered(joined([known, own]), "row")
        return {**found, "row": judged.at(found["row"])}

    def _own_repeats(self, judged: Judged) -> Columns:
        """The rows that repeat a better one of their shard: these need not travel, and no file holds them."""
        clustered = judged.clusters["repeat"] != ""
        if not clustered.any():
            return _complete(_NONE, 0)
        takes_part = (
            judged.candidate & ~fails(judged, self._judge.recipe, self._cuts) & (judged.removed == "")
        )
        chosen = np.flatnonzero(clustered & takes_part)
        hi, lo = words(judged.clusters["repeat"][chosen])
        key_hi, key_lo = key_words(judged.taken("key", chosen))
        rows: Columns = {"row": judged.places[chosen], "key_hi": key_hi, "key_lo": key_lo, "hi": hi, "lo": lo}
        rows |= take(self._judge.ranks(judged), chosen) | {"shard": judged.places[chosen] >> PLACE}
        rows = ordered(rows, "shard", "hi", "lo", *_ORDER)
        run = runs(rows["shard"], rows["hi"], rows["lo"])
        return _complete(_behind(rows, run, run != np.arange(len(run)), REPEAT), 0)


_WINNER: Final = ("key_hi", "key_lo", "capped")
_GIVEN: Final = {"of": -1, "capped": 0}
_TYPES: Final[Mapping[str, Any]] = {
    "row": np.int64,
    "kind": np.uint8,
    "key_hi": np.uint64,
    "key_lo": np.uint64,
    "own_key_hi": np.uint64,
    "own_key_lo": np.uint64,
    "round": np.uint8,
    "of": np.int64,
    "capped": np.uint8,
}
_NONE: Final[Columns] = {name: np.zeros(0, kind) for name, kind in _TYPES.items()}
"""No loser."""


def _behind(rows: Columns, run: npt.NDArray[np.int64], worse: npt.NDArray[np.bool_], kind: int) -> Columns:
    """The rows that are worse than the first of their run, `of` which they share the fate from now on."""
    found = {"row": rows["row"][worse], "of": rows["row"][run[worse]]}
    for name in ("key_hi", "key_lo"):
        found |= {name: rows[name][run[worse]], f"own_{name}": rows[name][worse]}
    return {**found, "kind": np.full(len(found["row"]), kind, np.uint8)}


def _complete(rows: Columns, number: int) -> Columns:
    """The losers of a round with all columns: those that are missing say that none stood for a row."""
    given = {**_GIVEN, "round": number}
    return {
        name: rows[name] if name in rows else np.full(len(rows["row"]), given[name], kind)
        for name, kind in _TYPES.items()
    }


def _winners(rows: Columns, known: Columns) -> Columns:
    """Who stays in the place of rows: where another one stood for a row and is known to have lost, who does in its."""
    at = places_in(known["row"], rows["of"])
    behind = np.flatnonzero(at >= 0)
    found = {name: rows[name].copy() for name in (*_WINNER, "of")}
    for name in _WINNER:
        found[name][behind] = known[name][at[behind]]
    further = known["of"][at[behind]]
    found["of"][behind] = np.where(further >= 0, further, rows["of"][behind])
    return found


def words(names: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Returns cluster keys as two words; zeros where there is none."""
    keys = pa.array(np.where(names == "", "0" * 32, names), pa.string())
    return key_words(keys)
