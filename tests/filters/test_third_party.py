"""Filters of installed packages: found by name, checked by their own classes, and each mistake is a sentence."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters.rules import failures
from filters.signals import Measurer
from filters.table import FILTERS, SIGNALS
from pipelines.recipe.model import Recipe
from pipelines.recipe.parse import parse
from schemas.errors import InputError, RecipeError
from tests.filters.pictures import encoded, noise
from tests.filters.third_party import SOURCE, Install, install, installed, recipe

__all__ = ["installed"]

YAML = """sources: [{id: web, path: x}]
signals:
  sharpness:
    step: 2
rules:
  min_sharpness: {value: 20}
"""


def made(**more: Any) -> Recipe:
    """The recipe that names the filter."""
    return Recipe.model_validate(recipe(Path("x"), **more))


def measured(wanted: Recipe) -> dict[str, Any]:
    """The signals of one row with a sharp image."""
    measurer = Measurer(wanted.signals)
    record = {"caption_raw": "A beach", **measurer.image(encoded(noise(90, 60), "PNG"), pair=True)}
    return dict(measurer.table([record]).to_pylist()[0])


def test_its_columns_stand_behind_ours(installed: Install) -> None:
    """What the filter measures is a column of work/signals, in its type; ours are as they were."""
    installed()
    wanted = made()
    names = wanted.signals.schema.names
    assert [name for name in names if name != "sharpness"] == SIGNALS.names
    assert names.index("sharpness") == names.index("text_repeats") + 1
    row = measured(wanted)
    assert row["sharpness"] > 10
    assert row["width"] == 90


def test_its_rule_is_judged_by_its_own_settings(installed: Install) -> None:
    """The rule has the place behind ours on a row's signals, before those that look beyond it; null passes."""
    installed()
    wanted = made(rules={"min_sharpness": {"value": 3}, "emoji": {"max": 0}})
    rules = wanted.rules_of(wanted.sources[0])
    order = [rule.name for rule in rules.table]
    assert order.index("columns") < order.index("min_sharpness") < order.index("clip")
    rows = pa.table(
        {"caption": ["a"] * 3, "emoji": pa.array([1, 0, 0], pa.int32()), "sharpness": [2.0, 3.0, None]}
    )
    assert failures(rows, rules, ()).to_pylist() == [["emoji", "min_sharpness"], [], []]
    off = made(sources=[{"id": "web", "path": "x", "rules": {"min_sharpness": False}}])
    assert failures(rows, off.rules_of(off.sources[0]), ()).to_pylist() == [["emoji"], [], []]


def test_the_recipe_survives_the_way_to_a_worker(installed: Install) -> None:
    """A recipe as JSON and back is the same: filter, rules and digest."""
    installed()
    wanted = made()
    again = Recipe.model_validate(wanted.to_json())
    assert again == wanted
    assert again.digest() == wanted.digest()


def test_the_digest_names_package_version_and_source(
    installed: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another source of the filter is another recipe; a recipe without it is as it always was."""
    plain = {"sources": [{"id": "web", "path": "x"}]}
    before = Recipe.model_validate(plain).digest()
    installed()
    assert Recipe.model_validate(plain).digest() == before
    first = made()
    found = first.signals.found["sharpness"]
    assert (found.package, found.version) == ("acme-sharpness", "1.2")
    assert len(found.digest) == 64
    del sys.modules["acme_sharpness"]
    monkeypatch.syspath_prepend(install(tmp_path / "other", SOURCE + "\n# another\n"))
    assert made().digest() != first.digest()


def test_a_recipe_that_names_none_imports_none(installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points of packages are loaded for the recipes that name them alone."""
    installed("raise SystemError('imported')")
    monkeypatch.setattr(EntryPoint, "load", lambda self: pytest.fail("loaded"))
    record = {
        "sources": [{"id": "web", "path": "x"}],
        "signals": {"text": False, "caption": {"max_spaces": 3}},
    }
    assert Recipe.model_validate(record).signals.filters == FILTERS


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("step: 2", "stop: 2", 4, "signals.sharpness.stop: unknown key; did you mean step? allowed are step"),
        ("step: 2", "step: 99", 4, "signals.sharpness.step: Input should be less than or equal to 16"),
        (
            "value",
            "values",
            6,
            "rules.min_sharpness.values: unknown key; did you mean value? allowed are value",
        ),
        (
            "min_sharpness",
            "min_sharp",
            6,
            "rules.min_sharp: unknown key; did you mean min_sharpness? allowed are",
        ),
    ],
)
def test_its_settings_are_checked_with_file_and_line(
    installed: Install, old: str, new: str, line: int, said: str
) -> None:
    """Unknown keys and wrong values of a filter's blocks are told as those of ours."""
    installed()
    with pytest.raises(RecipeError) as caught:
        parse(YAML.replace(old, new), "mine.yaml")
    assert str(caught.value).startswith(f"mine.yaml:{line}: {said}")


def test_a_filter_that_is_not_installed_is_told() -> None:
    """The sentence says what there is, and how the package that was used is found out; so does a rule without it."""
    with pytest.raises(RecipeError) as caught:
        parse(YAML, "mine.yaml")
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        "mine.yaml:3: unknown key signals.sharpness; allowed are caption, language, picture, text"
    )
    assert "entry point vlcorpus.filters" in first
    assert "manifest" in first
    assert second.startswith("mine.yaml:6: unknown key rules.min_sharpness")


def test_a_rule_whose_filter_is_off_has_nothing_to_go_by(installed: Install) -> None:
    """The rule of a filter that does not run says what to add."""
    installed()
    with pytest.raises(
        ValueError, match=r"min_sharpness rule of source 'web' has nothing to go by: add signals"
    ):
        made(signals={"sharpness": False})


@pytest.mark.parametrize(
    ("source", "entry", "said"),
    [
        ("import nowhere_to_be_found", "sharpness", "'sharpness' of the package acme-sharpness 1.2"),
        ("FILTER = 3", "sharpness", "is a int, not a filters.filter.Filter"),
        (SOURCE.replace('name="sharpness"', 'name="blur"'), "sharpness", "calls itself 'blur'"),
        (
            SOURCE.replace('columns={"sharpness"', 'columns={"width"'),
            "sharpness",
            "the filter 'sharpness' of the package acme-sharpness 1.2 has the column 'width'",
        ),
        (SOURCE.replace("min_sharpness", "min_side"), "sharpness", "has the rule 'min_side'"),
        (SOURCE.replace("fails, says)", 'fails, says, after="x")'), "sharpness", "is to stand after x"),
        (
            SOURCE.replace('("sharpness",), fails', '("sharpnes",), fails'),
            "sharpness",
            "its rule min_sharpness reads 'sharpnes', a column of no filter; did you mean sharpness?",
        ),
        (
            SOURCE.replace("    image=lambda settings: partial(measure, settings),\n", ""),
            "sharpness",
            "has columns, but neither image nor batch",
        ),
        (
            SOURCE.replace("class Sharpness(Settings)", "class Sharpness(__import__('pydantic').BaseModel)"),
            "sharpness",
            "Sharpness must be a subclass of schemas.settings.Settings",
        ),
        (SOURCE, "caption", "gives 'caption' in vlcorpus.filters, which is a name of ours"),
    ],
)
def test_a_filter_that_cannot_be_used_is_one_sentence(
    installed: Install, source: str, entry: str, said: str
) -> None:
    """Import errors, names that are taken, a value of another kind: at the recipe's line, naming the package."""
    installed(source, entry)
    with pytest.raises(RecipeError) as caught:
        parse(f"sources: [{{id: web, path: x}}]\nsignals:\n  {entry}: {{}}\n", "mine.yaml")
    assert str(caught.value).startswith(f"mine.yaml:3: signals.{entry}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_packages_with_one_name_are_told(installed: Install) -> None:
    """Which of the two is meant nobody knows."""
    installed()
    installed(package="acme_other")
    with pytest.raises(RecipeError, match=r"acme-other 1\.2 and acme-sharpness 1\.2 both give 'sharpness'"):
        parse(YAML, "mine.yaml")


WRONG = 'return {"sharpness": float(np.abs(grey[:, settings.step :] - grey[:, : -settings.step]).mean())}'
assert WRONG in SOURCE


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            SOURCE.replace(WRONG, 'return {"sharpness": "high"}'),
            "gives for sharpness a value that is no float",
        ),
        (SOURCE.replace(WRONG, 'return {"blur": 1.0}'), "gives blur, which is none of its columns"),
    ],
)
def test_a_wrong_value_stops_with_a_sentence(installed: Install, source: str, said: str) -> None:
    """A value of another type, a column that was not declared."""
    installed(source)
    with pytest.raises(InputError, match=f"the filter sharpness {said}"):
        measured(made())


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("pa.array([1.0] * 3, pa.float32())", "gives 3 values of sharpness for 1 rows"),
        ("pa.array(['x'])", "gives sharpness as string, but declares float"),
        ("[1.0]", "gives sharpness as list, but declares float"),
    ],
)
def test_a_wrong_column_stops_with_a_sentence(installed: Install, column: str, said: str) -> None:
    """A column of a batch of another type or length."""
    maker = f'batch=lambda settings: lambda batch: {{"sharpness": {column}}}'
    installed(SOURCE.replace("image=lambda settings: partial(measure, settings)", maker))
    with pytest.raises(InputError, match=f"the filter sharpness {said}"):
        measured(made())


def test_a_mistake_of_the_filter_names_it(installed: Install) -> None:
    """An exception that is no row's goes on, with the filter's name."""
    installed(SOURCE.replace(WRONG, "raise ZeroDivisionError"))
    with pytest.raises(ZeroDivisionError) as caught:
        measured(made())
    assert caught.value.__notes__ == ["in the filter sharpness"]
