"""Which rules of Qwen-VL's paper (its appendix on cleaning pairs) a run did without."""

from collections.abc import Iterable, Iterator
from typing import Final

from filters.written import scripts_of
from pipelines.readers import InputShard
from schemas.recipe import Recipe, Source

PAPER: Final = ("clip", "special_tag", "caption_length", "script", "emoji", "aspect_ratio", "min_side")
"""The paper's rules by their names here; the one that matters most first, then in rule order."""

_PAIRS: Final = ("webdataset", "parquet", "folder")
_MEANING: Final = {
    "clip": "clip (without a threshold on CLIP scores, captions that do not fit their images pass: docs/clip.md)"
}


def unused_rules(recipe: Recipe, shards: Iterable[InputShard]) -> Iterator[str]:
    """Yields one sentence where some of the paper's rules were off for every training source of pairs."""
    of_pairs = {shard.source for shard in shards if shard.kind in _PAIRS}
    sources = [
        source
        for source in recipe.sources
        if source.id in of_pairs and source.role == "train" and source.captions == "required"
    ]
    off = [rule for rule in PAPER if not any(_holds(recipe, source, rule) for source in sources)]
    if sources and off:
        listed = ", ".join(_MEANING.get(rule, rule) for rule in off)
        yield (
            f"rules of Qwen-VL's paper that no training source of pairs used: {listed}; "
            "switch them on under rules (docs/recipe.md)"
        )


def _holds(recipe: Recipe, source: Source, rule: str) -> bool:
    """Whether a rule can drop a row of the source; script goes by the languages where it names no scripts."""
    settings = recipe.rules_of(source)
    if rule == "script" and settings.script:
        scripts = settings.script.scripts
        return bool(scripts_of(recipe.languages_of(source)) if scripts is None else scripts)
    return bool(getattr(settings, rule))
