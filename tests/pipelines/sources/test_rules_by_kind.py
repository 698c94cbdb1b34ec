"""Which rules apply to a source: every kind against every rule."""

import re
from pathlib import Path
from typing import Any

import pytest

from filters.caption import CaptionLength
from filters.corpus_rules import Clip
from filters.picture import Orientation
from filters.table import RuleSettings
from pipelines.recipe.model import Recipe
from pipelines.sources.table import KINDS

RULES = list(RuleSettings.model_fields)
TABLE = RuleSettings.table
ALWAYS = {"no_caption", "repeat"}
IMAGES = {"aspect_ratio", "min_side", "blank", "image_bytes", "orientation"}
CAPTIONS = {
    *("special_tag", "damaged_text", "pattern", "caption_length", "script", "emoji"),
    *("repetition", "special_characters", "personal_data"),
}
DUPLICATES = {"exact", "pixels", "phash"}
CORPUS_WIDE = ("semantic", "max_per_caption")
"""Rules with one setting for all sources, which a source cannot have alone."""

SOURCES: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind} for kind in ("auto", "webdataset", "parquet", "folder", "text", "urls")},
    "annotations": {"kind": "annotations", "format": "coco_captions"},
    "rendered": {"kind": "rendered", "format": "pdf"},
}
ON: dict[str, Any] = {
    **{name: True for name in RULES if name not in ALWAYS},
    "columns": {"style": {"in": ["photo"]}},
    "clip": {"min": 0.2},
}
"""Every rule that can be off, switched on."""


def rules(kind: str, recipes: dict[str, Any], own: dict[str, Any], **more: Any) -> RuleSettings:
    """The rules that apply to a source of a kind."""
    source = {"id": "one", "path": "x", "rules": own, **SOURCES[kind]} | more
    recipe = Recipe.model_validate(
        {
            "rules": recipes,
            "sources": [source],
            "clip": {
                "allow_embedded": True,
                "embeddings": True,
                "scorers": {"default": {"model": "embedded"}},
            },
            "signals": {"text": True},
        }
    )
    return recipe.rules_of(recipe.sources[0])


def on(settings: RuleSettings) -> set[str]:
    """The names of the rules that are on, but those that always are."""
    return {name for name in RULES if getattr(settings, name)} - ALWAYS


@pytest.mark.parametrize("kind", SOURCES)
def test_what_the_recipe_says_for_all(kind: str) -> None:
    """Of the recipe's rules pairs have all; others languages and images, as far as their rows have them."""
    expected = {
        "text": {"language", "columns"},
        "annotations": {"language", *IMAGES},
        "rendered": IMAGES,
    }
    assert on(rules(kind, ON, {})) == expected.get(kind, set(RULES) - ALWAYS)


@pytest.mark.parametrize("kind", SOURCES)
def test_what_the_source_names(kind: str) -> None:
    """Where the source names every rule, those apply of which its rows have the signal."""
    expected = {
        "text": {"language", "columns", *CAPTIONS},
        "annotations": {"language", "columns", *IMAGES, *CAPTIONS, *DUPLICATES},
        "rendered": IMAGES | DUPLICATES,
    }
    assert on(rules(kind, dict.fromkeys(CORPUS_WIDE, True), ON)) == expected.get(kind, set(RULES) - ALWAYS)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("name", [name for name in RULES if name not in ALWAYS])
def test_a_source_names_its_exceptions(kind: str, name: str) -> None:
    """`off` among a source's own rules takes that rule away, and no other, whatever the kind."""
    found = rules(kind, ON, {name: False})
    assert on(found) == on(rules(kind, ON, {})) - {name}


def test_a_named_rule_lies_over_the_recipes() -> None:
    """A rule that an annotation source names has the recipe's settings where the source gives none."""
    found = rules("annotations", {"caption_length": {"min_chars": 9}}, {"caption_length": {"max_chars": 50}})
    length = found[CaptionLength]
    assert (length.min_chars, length.max_chars) == (9, 50)


def test_text_has_the_clip_rule_with_a_score_of_its_own() -> None:
    """A text source cannot be scored, but its rows may bring a score."""
    assert rules("text", ON, {}).get(Clip) is None
    given = rules("text", ON, {}, clip_score="similarity", columns={"extra": ["similarity"]})
    assert given.get(Clip)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_dropped_turn_holds_for_every_image(kind: str) -> None:
    """`signals.picture.orientation: drop` is the rule `orientation` for all kinds with images, but for exceptions."""
    for own, expected in (({}, kind != "text"), ({"orientation": False}, False)):
        source = {"id": "one", "path": "x", "rules": own, **SOURCES[kind]}
        record = {"sources": [source], "signals": {"picture": {"orientation": "drop"}}}
        recipe = Recipe.model_validate(record)
        assert (recipe.rules_of(recipe.sources[0]).get(Orientation) is not None) is expected


def test_every_kind_is_in_the_table() -> None:
    """Naming a rule never takes one away, and only pairs have every rule."""
    assert SOURCES.keys() == KINDS.keys()
    for kind in KINDS.values():
        assert kind.applying(TABLE, []) <= kind.applying(TABLE, RULES) <= set(RULES)
        assert (kind.applying(TABLE, RULES) == set(RULES)) == kind.pairs


def test_the_docs_name_the_rules_of_each_kind() -> None:
    """docs/recipe.md has a line for each kind that is not of pairs, and no rule more or less."""
    page = (Path(__file__).parents[3] / "docs" / "recipe.md").read_text()
    for kind in (kind for kind in KINDS.values() if not kind.pairs):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{kind.name}` |")]
        general, named = line.split("|")[2:4]
        assert set(re.findall(r"`(\w+)`", general)) - {"clip_score"} == kind.applying(TABLE, [])
        assert set(re.findall(r"`(\w+)`", named)) == kind.applying(TABLE, RULES) - kind.applying(TABLE, [])
