"""What a recipe's mixture may name."""

from pathlib import Path

import pytest

from pipelines.recipe.load import from_file
from pipelines.recipe.mixture import strata
from pipelines.recipe.model import Recipe
from schemas.errors import RecipeError
from schemas.mixture import Portion

SOURCES = """sources:
  - {id: web, path: x}
  - {id: books, path: x, kind: text}
  - {id: coco, path: x, kind: annotations, format: coco_captions}
  - {id: asked, path: x, kind: annotations, format: vqav2}
  - {id: talked, path: x, kind: annotations, format: conversations}
  - {id: drawn, kind: rendered, format: scenes, render: {count: 3}}
  - {id: held-out, path: x, role: eval}
"""


def load(text: str, folder: Path, sources: str = SOURCES) -> Recipe:
    path = folder / "r.yaml"
    path.write_text(f"{sources}{text}\n")
    return from_file(str(path))


def test_portions(tmp_path: Path) -> None:
    """A number is a weight; a recipe that goes to a worker as JSON is the same there."""
    recipe = load("mixture: {caption/web: 2, 'text/*': {weight: 0.5, max_samples: 10}}", tmp_path)
    assert recipe.mixture == {
        "caption/web": Portion(weight=2.0),
        "text/*": Portion(weight=0.5, max_samples=10),
    }
    assert Recipe.model_validate(recipe.to_json()) == recipe
    assert recipe.digest() != load("mixture: {caption/web: 2}", tmp_path).digest()


def test_what_there_can_be(tmp_path: Path) -> None:
    """Sources give the tasks of their kind and dataset; evaluation sets give none."""
    found = strata(load("tasks: [caption, text, vqa, chat]", tmp_path))
    assert {one for one in found if not one.endswith("/drawn")} == {
        *("caption/web", "text/web", "text/books", "caption/coco", "vqa/asked", "chat/talked")
    }
    assert {"caption/drawn", "vqa/drawn"} <= {*found}
    grounded = "sources: [{id: web, path: x, ground: {detector: {model: colours}}}]\n"
    assert {"grounding/web", "referring/web"} <= {*strata(load("", tmp_path, grounded))}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "captoin/web: 1",
            "mixture.captoin/web: there is no task 'captoin'; did you mean caption? tasks are caption,",
        ),
        (
            "caption/wep: 1",
            "mixture.caption/wep: there is no source 'wep'; did you mean web? sources are web, books",
        ),
        ("caption/held-out: 1", "source 'held-out' is an evaluation set, which no training draws from"),
        (
            "ocr/web: 1",
            "mixture.ocr/web: it matches no samples that this recipe can make: there can be caption/web, ",
        ),
        ("vqa/b*: 1", "mixture.vqa/b*: it matches no samples that this recipe can make"),
        ("'*/held*': {epochs: 1}", "mixture.*/held*: it matches no samples"),
        (
            "'interleaved/w[a-e]b': 1, caption/web: .nan",
            "weight must be a number from 0 to 1,000,000, not nan",
        ),
        ("'caption/[w]*': -1", "mixture.caption/[w]*: weight must be a number from 0 to 1,000,000, not -1"),
        ("caption/web: 1.0e+30", "weight must be a number from 0 to 1,000,000, not 1e+30"),
        ("caption/web: {wieght: 1}", "mixture.caption/web: unknown key wieght; did you mean weight?"),
        ("caption: 1", "strata are named by TASK/SOURCE, such as caption/web or ocr/*, not 'caption'"),
        (
            "caption/*: 1, '*/web': 1",
            "both match caption/web, and neither is more specific: name caption/web",
        ),
        ("caption/*: 1, text/*: {epochs: 1}", "caption/* has a weight and text/* epochs"),
    ],
)
def test_refused(text: str, sentence: str, tmp_path: Path) -> None:
    """A pattern that can match nothing, and a portion that is none, are one sentence with file and line."""
    with pytest.raises(RecipeError) as caught:
        load(f"mixture: {{{text}}}", tmp_path)
    assert sentence in str(caught.value)
    assert "r.yaml:9: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_that_the_recipe_leaves_out(tmp_path: Path) -> None:
    """A task that `tasks` does not list cannot be drawn."""
    with pytest.raises(RecipeError, match="tasks leaves out text; it lists caption"):
        load("tasks: [caption]\nmixture: {text/books: 1}", tmp_path)


def test_an_unknown_preset(tmp_path: Path) -> None:
    """The preset whose queries are counted is one of ours."""
    with pytest.raises(RecipeError, match="there is no such preset; did you mean tiny"):
        load("preset: tini", tmp_path)
