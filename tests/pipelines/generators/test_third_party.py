"""Generators of others: one from a package in a folder, one added to the table."""

import json
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import Field

from pipelines.generators import Generator, Item, Job, Maker, Page, RenderSettings
from pipelines.generators.table import TABLE
from pipelines.recipe.load import load
from schemas.errors import RecipeError
from schemas.sample import ImageRef, Text, Turn
from synth.views import View
from tests.packages import install
from tests.pipelines.building import build
from tests.pipelines.phases.test_render import samples

PAGE = (Path(__file__).parents[3] / "docs" / "ocr.md").read_text("utf-8")
MODULE = PAGE.split("## A generator of your own")[1].split("```python\n")[1].split("```")[0]
"""The example of docs/ocr.md."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with one generator, installed into a folder that this process and its children read."""
    points = "[vlcorpus.generators]\nflags = acme_flags:FLAGS\n"
    folder = install(tmp_path / "site", "acme-flags", "1.2", {"acme_flags.py": MODULE}, points)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield folder
    sys.modules.pop("acme_flags", None)


def recipe(form: str, **render: Any) -> dict[str, Any]:
    """A recipe of one source of that format."""
    source = {"id": "made", "kind": "rendered", "format": form, "render": render, "rules": {"blank": False}}
    return {"seed": 5, "languages": ["en"], "sources": [source]}


@pytest.mark.usefixtures("package")
def test_a_package_brings_a_generator(tmp_path: Path) -> None:
    """It renders in the caller's process and in workers, to equal bytes; the manifest names the package."""
    build(recipe("flags", count=5), tmp_path / "inline")
    build(recipe("flags", count=5), tmp_path / "local", workers=2)
    first, second = ((tmp_path / name / "manifest.json").read_bytes() for name in ("inline", "local"))
    assert first == second
    assert len(samples(tmp_path / "inline")) == 5
    assert json.loads(first)["facts"]["made: generator"].startswith("acme-flags 1.2 (")


def test_another_version_of_the_package_is_another_recipe(package: Path) -> None:
    """The package's version and source are part of the recipe's digest."""
    before = load(recipe("flags", count=5)).digest()
    (package / "acme_flags-1.2.dist-info").rename(package / "acme_flags-1.3.dist-info")
    (package / "acme_flags-1.3.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-flags\nVersion: 1.3\n"
    )
    forget_packages()
    assert load(recipe("flags", count=5)).digest() != before


def forget_packages() -> None:
    """Has the next look-up read what is installed anew, as another process would."""
    from schemas import plugins

    plugins._points.cache_clear()
    plugins._plugin.cache_clear()


@pytest.mark.usefixtures("package")
def test_its_settings_are_its_own(tmp_path: Path) -> None:
    """A key that it does not know, and one out of its bounds, are sentences that name the key."""
    with pytest.raises(
        RecipeError, match=r"render\.side: format flags has no such setting; it has count, width"
    ):
        load(recipe("flags", count=1, side=96))
    with pytest.raises(RecipeError, match=r"render\.width: Input should be greater than or equal to 200"):
        load(recipe("flags", count=1, width=9))


def test_a_generator_that_is_not_installed_is_one_sentence() -> None:
    """Its name and the group of entry points are told."""
    with pytest.raises(RecipeError, match=r"'flags' is unknown here; .*vlcorpus\.generators"):
        load(recipe("flags", count=1))


class DotSettings(RenderSettings):
    """How dots are drawn."""

    count: int = Field(gt=0)


def _dots(job: Job) -> Maker:
    def pages(item: Item) -> Iterator[Page]:
        out = BytesIO()
        Image.new("RGB", (256, 256), (item.number, 0, 9 if item.language == "zh" else 0)).save(out, "PNG")
        turns = (Turn("document", (ImageRef(0), Text(f"dot {item.number} in {item.language}", True))),)
        yield Page(item.name, out.getvalue(), item.language, [View("caption", item.language, turns)])

    return Maker(pages)


def test_a_generator_is_one_line_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value in the table is all that a recipe, a build, the ledger and the manifest need."""
    monkeypatch.setitem(
        TABLE, "dots", Generator("dots", DotSettings, _dots, facts=lambda job: {"ink": "red"})
    )
    build({**recipe("dots", count=3), "languages": ["en", "zh"]}, tmp_path / "out")
    made = samples(tmp_path / "out")
    assert sorted(one.text.split(" in ")[1][:2] for one in made) == ["en"] * 3 + ["zh"] * 3
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["facts"]["made: ink"] == "red"
