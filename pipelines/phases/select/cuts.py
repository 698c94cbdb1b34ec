"""Where the `keep` thresholds of the clip rule fall, exactly, over any number of rows.

Two passes: the receipts of phase score hold, for each (source, language) with a threshold of its own,
counts of scores in bins; they give the one bin that holds the cut. Then the rows of that bin alone
meet in a shuffle and are sorted by (score, key, row).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.corpus_rules import Clip
from filters.language import key_of
from pipelines.engines.step import At, Json
from pipelines.phases.dedup.tables import key_words
from pipelines.phases.select.candidates import Judge
from pipelines.phases.select.judged import Judged
from pipelines.recipe.model import Recipe, Source

BINS = 1000
"""Bins a unit of score."""

SEPARATOR = "\t"


def group_of(source: str, language: str) -> str:
    """The name of the rows that share a threshold; an empty language: all without one of their own."""
    return f"{source}{SEPARATOR}{language}"


def bins_of(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The bin of each score."""
    return np.floor(scores.astype(np.float64) * BINS).astype(np.int64)


def groups(recipe: Recipe, source: Source, languages: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """For each row the group whose threshold judges it."""
    clip = recipe.rules_of(source).get(Clip)
    own = clip.languages if clip else {}
    names = {code: group_of(source.id, key_of(own, code) or "") for code in set(languages.tolist())}
    return np.array([names[code] for code in languages.tolist()], object)


def histogram(names: npt.NDArray[Any], scores: npt.NDArray[np.float32]) -> dict[str, dict[str, int]]:
    """Sparse counts per bin, by group, as a receipt holds them."""
    counts: dict[str, Counter[str]] = {}
    for name, bin_ in zip(names.tolist(), bins_of(scores).tolist(), strict=True):
        counts.setdefault(name, Counter())[str(bin_)] += 1
    return {name: dict(sorted(found.items())) for name, found in sorted(counts.items())}


@dataclass(frozen=True)
class Place:
    """The bin that holds a group's cut, and how many of its rows, the best first, stay."""

    bin: int
    stay: int


def places(recipe: Recipe, receipts: Mapping[tuple[str, str], Json]) -> dict[str, Place]:
    """For each group with a `keep` threshold, where its cut falls; from the receipts of phase score."""
    totals: dict[str, Counter[int]] = {}
    for receipt in receipts.values():
        for name, counts in receipt.get("bins", {}).items():
            totals.setdefault(name, Counter()).update({int(bin_): count for bin_, count in counts.items()})
    found = {}
    for name, counts in sorted(totals.items()):
        keep = _keep(recipe, name)
        if keep is not None:
            found[name] = _place(counts, keep)
    return found


def _keep(recipe: Recipe, name: str) -> float | None:
    source, _, language = name.partition(SEPARATOR)
    clip = recipe.rules_of(recipe.source(source)).get(Clip)
    if not clip:
        return None
    return clip.languages[language].keep if language else clip.keep


def staying(keep: float, rows: int) -> int:
    """How many of `rows` rows a share keeps: halves round up, and of any rows at least one stays."""
    # the share as the recipe writes it: 0.145 of 100 is 14.5, which no binary number is
    return min(rows, max(1, floor(Fraction(str(keep)) * rows + Fraction(1, 2))))


def _place(counts: Counter[int], keep: float) -> Place:
    left = staying(keep, counts.total())
    bins = iter(sorted(counts, reverse=True))
    bin_ = next(bins)
    while left > counts[bin_]:
        left -= counts[bin_]
        bin_ = next(bins)
    return Place(bin_, left)


class Cuts:
    """Finds each group's last row that stays, among the rows of the one bin with the cut."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._places = {name: Place(**place) for name, place in setup["places"].items()}
        self._numbers = {name: number for number, name in enumerate(sorted(self._places))}

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The rows in the bins of cuts, one partition a group."""
        judged = self._judge.load(task)
        rows = np.flatnonzero(judged.candidate & ~np.isnan(judged.scores))
        names = groups(self._judge.recipe, judged.source, judged.languages[rows])
        bins = bins_of(judged.scores[rows])
        for name in sorted(set(names.tolist()) & self._places.keys()):
            mine = rows[(names == name) & (bins == self._places[name].bin)]
            if len(mine):
                yield self._numbers[name], rank_table(judged, mine)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The group's cut: the score, key and row of the last that stays."""
        name = sorted(self._places)[partition]
        stay = self._places[name].stay
        columns = {column: table[column].to_numpy() for column in table.column_names}
        order = best_first(columns)
        last = order[stay - 1]
        return {
            "group": name,
            "score": float(columns["score"][last]),
            **{column: int(columns[column][last]) for column in ("key_hi", "key_lo", "row")},
        }


def rank_table(judged: Judged, rows: npt.NDArray[np.int64]) -> pa.Table:
    """What rows are ordered by: score, key, row."""
    keys = judged.taken("key", rows)
    key_hi, key_lo = key_words(keys)
    scores = judged.scores[rows].astype(np.float64)
    return pa.table({"score": scores, "key_hi": key_hi, "key_lo": key_lo, "row": judged.places[rows]})


def best_first(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """The order of rows: higher scores first, then smaller keys, then smaller rows."""
    return np.lexsort((columns["row"], columns["key_lo"], columns["key_hi"], -columns["score"]))


def reached(cuts: Mapping[str, Json], source: str) -> dict[str, float]:
    """language -> the least score that stays, of a source's `keep` thresholds; "" for those without their own."""
    named = {name.partition(SEPARATOR): cut["score"] for name, cut in sorted(cuts.items())}
    return {language: round(score, 5) for (owner, _, language), score in named.items() if owner == source}


def fails(judged: Judged, recipe: Recipe, cuts: Mapping[str, Json]) -> npt.NDArray[np.bool_]:
    """Which candidates fail the clip rule, or have no score; `cuts` holds those of the groups with `keep`."""
    clip = recipe.rules_of(judged.source).get(Clip)
    failed = unscored(judged, recipe)
    if not clip:
        return failed
    rows = np.flatnonzero(judged.candidate & ~np.isnan(judged.scores))
    names = groups(recipe, judged.source, judged.languages[rows])
    for name in sorted(set(names.tolist())):
        language = name.partition(SEPARATOR)[2]
        limit = clip.languages[language] if language else clip
        mine = rows[names == name]
        if limit.min is not None:
            # scores are rounded to 1e-5 and stored in single precision: compare what was rounded
            failed[mine] = np.round(judged.scores[mine].astype(np.float64), 5) < limit.min
        elif limit.keep is not None:
            failed[mine] = _after(judged, mine, cuts[name])
    return failed


def unscored(judged: Judged, recipe: Recipe) -> npt.NDArray[np.bool_]:
    """Which candidates fail for want of a score that the data should have brought."""
    clip = recipe.rules_of(judged.source).get(Clip)
    if not clip or clip.unscored == "keep" or judged.source.clip_score is None:
        return np.zeros(judged.signals.num_rows, np.bool_)
    return judged.candidate & judged.scored & np.isnan(judged.scores)


def _after(judged: Judged, rows: npt.NDArray[np.int64], cut: Json) -> npt.NDArray[np.bool_]:
    """Which rows come after the cut in the order of `best_first`."""
    table = rank_table(judged, rows)
    score, hi, lo, row = (table[name].to_numpy() for name in ("score", "key_hi", "key_lo", "row"))
    cut_hi, cut_lo = np.uint64(cut["key_hi"]), np.uint64(cut["key_lo"])
    later_row = row > cut["row"]
    later_lo = (lo > cut_lo) | ((lo == cut_lo) & later_row)
    later_key = (hi > cut_hi) | ((hi == cut_hi) & later_lo)
    after: npt.NDArray[np.bool_] = (score < cut["score"]) | ((score == cut["score"]) & later_key)
    return after
