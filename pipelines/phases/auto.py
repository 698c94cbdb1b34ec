"""The thresholds that a recipe leaves to the run: `language: {min_score: auto}`, from the scores of its own captions.

Two passes without a second reading: the receipts of phase measure count each language's scores in bins, and the sums
over a source's shards are the same whatever the engine and the order of the shards.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import floor, sqrt
from typing import Any, Final

import numpy as np
import pyarrow as pa

from filters.language import UNDETERMINED, LanguageRule
from pipelines.engines.step import Json
from pipelines.layout import Name
from pipelines.recipe.model import Recipe, Source

BINS: Final = 100
"""Bins a unit of score."""
LOWEST, HIGHEST = 0.3, 0.9
"""FineWeb2's bounds (Penedo et al. 2025, arXiv 2506.20920)."""
RARE: Final = 0.001
"""A language with a smaller share of the captions has the highest threshold: names and dishes, most of them."""


def score_counts(table: pa.Table) -> dict[str, dict[str, int]]:
    """Returns how many captions of each language have a score in each bin, of one table of signals."""
    languages = table["language"].to_pylist()
    scores = table["language_score"].to_numpy().astype(np.float64)
    counts: dict[str, Counter[str]] = {}
    for language, score in zip(languages, scores.tolist(), strict=True):
        if language is not None and language != UNDETERMINED:
            counts.setdefault(language, Counter())[str(floor(score * BINS))] += 1
    return {language: dict(sorted(found.items())) for language, found in sorted(counts.items())}


def added(counts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Returns the sums of counts."""
    total: dict[str, Counter[str]] = {}
    for one in counts:
        for language, found in one.items():
            total.setdefault(language, Counter()).update(found)
    return {language: dict(sorted(found.items())) for language, found in sorted(total.items())}


def thresholds(counts: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Returns each language's threshold: its median less the deviation, within the bounds."""
    captions = sum(sum(found.values()) for found in counts.values())
    return {language: _threshold(found, captions) for language, found in counts.items()}


def _threshold(found: Mapping[str, int], captions: int) -> float:
    """The threshold of a language with so many scores in each bin; a score counts as the lower end of its bin."""
    rows = sum(found.values())
    if rows < RARE * captions:
        return HIGHEST
    bins = sorted((int(bin_), count) for bin_, count in found.items())
    mean = sum(bin_ * count for bin_, count in bins) / rows
    deviation = sqrt(sum(count * (bin_ - mean) ** 2 for bin_, count in bins) / rows)
    seen, median = 0, 0
    for bin_, count in bins:
        seen += count
        if 2 * seen >= rows:
            median = bin_
            break
    return round(max(LOWEST, min(HIGHEST, (median - deviation) / BINS)), 2)


def settled(recipe: Recipe, measured: Mapping[Name, Json]) -> Recipe:
    """Returns the recipe with a number for every threshold that it leaves to the run, source by source.

    `measured` are the receipts of phase measure.
    """
    if not measured or not any(_is_auto(recipe, source) for source in recipe.sources):
        return recipe
    given = recipe.to_json()
    for source, written in zip(recipe.sources, given["sources"], strict=True):
        if _is_auto(recipe, source):
            counts = added(
                one["languages"] for (name, _), one in sorted(measured.items()) if name == source.id
            )
            rules: dict[str, Any] = written.setdefault("rules", {})
            block = rules.get("language")
            rules["language"] = {
                **(block if isinstance(block, dict) else {}),
                "min_score": thresholds(counts),
            }
    return Recipe.model_validate(given)


def _is_auto(recipe: Recipe, source: Source) -> bool:
    rule = recipe.rules_of(source).get(LanguageRule)
    return rule is not None and rule.min_score == "auto"
