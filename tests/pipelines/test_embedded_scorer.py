"""The embedded scorer knows drawn scenes alone: a recipe has to ask for it, and the run and the card say so."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.recipe.load import from_file, load
from pipelines.recipe.model import Recipe
from schemas.errors import RecipeError
from tests.pipelines import raw
from tests.pipelines.building import build

HOUSE = Path(__file__).parent.parent.parent
WEB = {"id": "web", "path": "in", "columns": "laion"}


@pytest.mark.parametrize(
    "clip", [{}, {"scorers": {"default": {}}}, {"scorers": {"en": {"model": "embedded"}}}]
)
def test_it_is_refused_unless_the_recipe_asks_for_it(clip: dict[str, Any]) -> None:
    """By name or by default, in a mapping or in a Recipe: the sentence says what to write instead."""
    record = {"sources": [WEB], "clip": clip}
    for given in (record, Recipe.model_validate(record)):
        with pytest.raises(
            RecipeError, match=r"clip: the embedded scorer knows .* or say allow_embedded: true"
        ):
            load(given)
    assert load({"sources": [WEB], "clip": {**clip, "allow_embedded": True}})


def test_nobody_asks_where_the_data_brings_its_scores_or_another_model_is_named() -> None:
    """The sentence is for scores that the embedded scorer would give."""
    assert load({"sources": [{**WEB, "clip_score": "similarity"}], "clip": {}})
    named = {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}
    assert load({"sources": [WEB], "clip": {"scorers": {"default": named}}})


def test_asking_for_it_is_no_part_of_the_digest() -> None:
    """It decides whether a recipe runs, not what comes out."""
    digests = {
        Recipe.model_validate({"sources": [WEB], "clip": {"allow_embedded": allowed}}).digest()
        for allowed in (True, False)
    }
    assert len(digests) == 1


def test_our_own_recipes_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recipe of the house loads as it stands."""
    monkeypatch.chdir(HOUSE)
    for path in [*Path("recipes").glob("*.yaml"), *Path("recipes/judge").glob("[rh]*.yaml")]:
        if path.name != "default.yaml":
            assert from_file(str(path)).sources


def test_the_run_and_the_card_say_what_its_scores_mean(tmp_path: Path) -> None:
    """A reporter hears the warning; the card names the scorer and repeats it."""
    path = raw.shard(tmp_path / "in" / "a.tar", range(2))
    recipe = {"sources": [{"id": "web", "path": str(path)}], "clip": {"allow_embedded": True}}
    _, heard = build(recipe, tmp_path / "out")
    assert any("on other images they mean nothing" in sentence for sentence in heard.said)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "CLIP scores are by embedded@" in card
    assert "on other images its scores mean nothing" in card
