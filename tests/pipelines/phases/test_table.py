"""The table of phases: what it says holds, and what follows from it."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipelines.audit import status
from pipelines.build import Build
from pipelines.cli import app
from pipelines.engines.step import named
from pipelines.phases import table
from pipelines.phases.table import PHASES, Phase, up_to
from pipelines.receipts import Task
from pipelines.recipe.model import Recipe
from pipelines.recipe.parse import parse
from schemas.errors import RecipeError
from tests.pipelines import raw
from tests.pipelines.building import build

SMALL = "sources: [{id: web, path: in}]\n"


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_all_that_a_phase_names_is_there(phase: Phase) -> None:
    """Functions and workers load; a phase reads only what it, an earlier phase or a person wrote."""
    for place in (phase.run, phase.worker, phase.ready, phase.rehearse):
        if place:
            assert callable(named(place))
    written = {folder for one in up_to(phase.name) for folder in one.writes}
    assert set(phase.reads) <= written | {"verdicts"}


def test_each_folder_has_one_writer() -> None:
    """No two phases write one folder of work/."""
    written = [folder for phase in PHASES for folder in phase.writes]
    assert len(written) == len(set(written))


def test_each_phase_is_a_command() -> None:
    """Every phase is called by its name; a dry run is for those alone that can be rehearsed."""
    commands: Any = typer.main.get_command(app)
    for phase in PHASES:
        options = {option.name for option in commands.commands[phase.name].params}
        assert ("dry_run" in options) == bool(phase.rehearse)


def test_resources_of_each_phase() -> None:
    """A recipe names what workers take by any phase that has workers, rendering too, and by no other."""
    phases = [phase.name for phase in PHASES if phase.worker]
    assert "render" in phases
    record = {name: {"cpus": 2} for name in phases}
    recipe = parse(SMALL + yaml.safe_dump({"resources": {"phases": record}}), "r.yaml")
    assert recipe.resources.phases.keys() == record.keys()
    offered = Recipe.model_json_schema()["$defs"]["Resources"]["properties"]["phases"]["propertyNames"][
        "enum"
    ]
    assert offered == phases
    for wrong, said in (("rendr", "did you mean render?"), ("card", "there are lists, fetch, render, split")):
        with pytest.raises(RecipeError, match=rf"r\.yaml:4: resources\.phases\.{wrong}: no phase .*{said}"):
            parse(f"{SMALL}resources:\n  phases:\n    {wrong}: {{}}\n", "r.yaml")


def count(build: Build) -> None:
    """A phase of one task a shard, whose worker is this module's."""
    tasks = [Task("/".join(name), "1", {"rows": 1, "shard": name[1]}) for name in sorted(build.shards)]
    build.map("count", tasks)


class Count:
    """A worker that answers with its task."""

    def __init__(self, setup: dict[str, Any]) -> None: ...

    def run(self, task: dict[str, Any], at: Any) -> dict[str, Any]:
        return task


def test_a_phase_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One module and one line in the table make a phase: it runs, resumes, is shown, and goes with its shard."""
    more = Phase("count", "Count.", f"{__name__}:count", f"{__name__}:Count", ("signals",), ("counts",))
    place = [phase.name for phase in PHASES].index("compose")
    monkeypatch.setattr(table, "PHASES", (*PHASES[:place], more, *PHASES[place:]))
    for module in ("pipelines.build", "pipelines.audit.status"):
        monkeypatch.setattr(importlib.import_module(module), "PHASES", table.PHASES)
    for shard in ("a", "b"):
        raw.shard(tmp_path / "in" / f"{shard}.tar", range(3))
    recipe = {"sources": [{"id": "web", "path": str(tmp_path / "in")}]}
    results, heard = build(recipe, tmp_path / "out")
    assert results["count"].keys() == {("web", "a"), ("web", "b")}
    assert heard.ran["count"] == 2
    (tmp_path / "out" / "work" / "counts" / "web").mkdir(parents=True)
    (tmp_path / "out" / "work" / "counts" / "web" / "b.parquet").touch()
    (tmp_path / "in" / "b.tar").unlink()
    results, heard = build(recipe, tmp_path / "out")
    assert (heard.ran["count"], results["count"].keys()) == (0, {("web", "a")})
    assert not list((tmp_path / "out" / "work" / "counts").rglob("b.parquet"))
    assert status.read(str(tmp_path / "out")).tasks["count"] == 1


def test_a_scored_shard_comes_back(tmp_path: Path) -> None:
    """A shard that was gone for a build is measured and scored again when it comes back."""
    for shard in ("a", "b"):
        raw.shard(tmp_path / "in" / f"{shard}.tar", range(3))
    recipe: dict[str, Any] = {"sources": [{"id": "web", "path": str(tmp_path / "in")}]}
    recipe["clip"] = {"scorers": {"default": {"model": "embedded"}}}
    recipe["rules"] = {"clip": {"min": -1.0}}
    build(recipe, tmp_path / "out")
    first = (tmp_path / "out" / "manifest.json").read_bytes()
    (tmp_path / "in" / "b.tar").rename(tmp_path / "b.tar")
    build(recipe, tmp_path / "out")
    (tmp_path / "b.tar").rename(tmp_path / "in" / "b.tar")
    _, heard = build(recipe, tmp_path / "out")
    assert (heard.ran["measure"], heard.ran["score"]) == (1, 1)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == first


def test_rendering_is_a_phase_like_the_others(tmp_path: Path) -> None:
    """A build may end with it, status shows it, and a second build renders nothing."""
    source = {"id": "drawn", "kind": "rendered", "format": "scenes", "render": {"count": 2}}
    recipe = {"sources": [source], "resources": {"phases": {"render": {"cpus": 1}}}}
    _, heard = build(recipe, tmp_path / "out", until="render")
    assert heard.ran == {"render": 1}
    assert status.read(str(tmp_path / "out")).tasks == {"render": 1}
    _, heard = build(recipe, tmp_path / "out", until="measure")
    assert heard.ran == {"render": 0, "measure": 1}
