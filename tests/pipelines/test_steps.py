"""The steps of dedup and select outlive the driver: after its death the same command loses one of them at most."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import pytest

from pipelines import steps as steps_
from pipelines.build import Build
from pipelines.engines.inline import InlineEngine
from pipelines.engines.step import Json, Step
from pipelines.layout import Layout
from pipelines.lock import locked
from pipelines.recipe.model import Recipe
from pipelines.removal import read
from pipelines.runs import Options, run
from pipelines.verdicts import Verdicts
from tests.damage import DEEDS, Heard, files
from tests.pipelines.building import engine
from tests.pipelines.phases.test_ground import pairs
from tests.pipelines.phases.test_ground import recipe as grounded


class Stopped(Exception):
    """The driver is gone."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Pairs in three tars, most of them twice, with rules for captions and for a share of the scores."""
    folder = tmp_path_factory.mktemp("raw")
    for number in range(3):
        pairs(folder / f"{number}.tar", range(4 * number, 4 * number + 8))
    made = grounded(folder)
    # grounding's recipe is without the rules for images
    rules = {name: rule for name, rule in made["rules"].items() if name not in ("phash", "pixels", "exact")}
    rules |= {"clip": {"keep": 0.8}, "max_per_caption": {"max": 1, "similarity": 0.7}}
    clip = {"allow_embedded": True, "scorers": {"default": {"model": "embedded"}}}
    return {**made, "rules": rules, "clip": clip, "max_quarantine": 1}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of a row to be removed."""
    path = tmp_path_factory.mktemp("list") / "list.txt"
    path.write_text("url\nhttps://example.org/1\n")
    return path


def build(recipe: dict[str, Any], out: Path | str, listed: Path) -> tuple[list[str], list[str]]:
    """Builds inline up to select; returns the steps of dedup and select that ran, and what was said."""
    heard, steps = Heard(), list[str]()

    def noting(verb: str) -> Any:
        sound = getattr(InlineEngine, verb)

        def noted(self: InlineEngine, step: Step, *given: Any) -> list[Json]:
            if step.name in ("dedup", "select"):
                steps.append(f"{step.name} {step.worker.partition(':')[2]}")
            return list(sound(self, step, *given))

        return noted

    made = Recipe.model_validate({**recipe, "out": str(out)})
    with (
        mock.patch.object(InlineEngine, "map", noting("map")),
        mock.patch.object(InlineEngine, "shuffle", noting("shuffle")),
    ):
        run(made, "select", Options("inline"), heard, removed=read(str(listed)))
    return steps, heard.said


@pytest.fixture(scope="module")
def sound(recipe: dict[str, Any], listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed build gives."""
    out = tmp_path_factory.mktemp("sound")
    steps, _ = build(recipe, out, listed)
    (out / "steps.json").write_text(json.dumps(steps))
    return out


def results(out: Path) -> dict[str, bytes]:
    """The files of a corpus, without the list of the steps of the sound one."""
    return {name: data for name, data in files(out).items() if name != "steps.json"}


def stopped(recipe: dict[str, Any], out: Path | str, listed: Path, last: str) -> None:
    """Builds until a step is about to begin, and stops there."""
    verbs = {verb: getattr(InlineEngine, verb) for verb in ("map", "shuffle")}

    def stopping(verb: str) -> Any:
        def stop(self: InlineEngine, step: Step, *given: Any) -> list[Json]:
            if f"{step.name} {step.worker.partition(':')[2]}" == last:
                raise Stopped
            return list(verbs[verb](self, step, *given))

        return stop

    made = Recipe.model_validate({**recipe, "out": str(out)})
    removed = read(str(listed))
    with (
        mock.patch.object(InlineEngine, "map", stopping("map")),
        mock.patch.object(InlineEngine, "shuffle", stopping("shuffle")),
        pytest.raises(Stopped),
    ):
        run(made, "select", Options("inline"), Heard(), removed=removed)


def left(out: Path) -> list[Path]:
    """The files that steps have left."""
    return sorted(path for path in (out / "work" / "steps").rglob("*") if path.is_file())


def test_a_driver_that_is_killed_at_every_step(
    recipe: dict[str, Any], listed: Path, sound: Path, tmp_path: Path
) -> None:
    """Killed where each step begins, the runs do every step once, and end with the bytes of an undisturbed one."""
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    out, log = tmp_path / "out", tmp_path / "log"
    given = [tmp_path / "recipe.yaml", out, listed, log]
    subprocess.run([sys.executable, "-m", "tests.steps", *map(str, given)], check=True, timeout=300)
    wanted = json.loads((sound / "steps.json").read_text())
    assert len(wanted) > 12
    assert log.read_text().splitlines() == wanted
    assert results(out) == results(sound)
    assert not (out / "work" / "steps").exists()
    assert not list((out / "work" / "receipts").glob("*-steps"))


@pytest.mark.parametrize("deed", DEEDS, ids=[deed.__name__ for deed in DEEDS])
def test_what_a_step_left_is_damaged(
    recipe: dict[str, Any],
    listed: Path,
    sound: Path,
    tmp_path: Path,
    deed: Callable[[Path, random.Random], None],
) -> None:
    """A file that a step left is held against the step's receipt: that step alone is done again."""
    out, hand = tmp_path / "out", random.Random(deed.__name__)
    stopped(recipe, out, listed, "select Caps")
    # the driver writes the one that is left out whenever it comes by
    path = hand.choice([path for path in left(out) if path.name != "matched.parquet"])
    deed(path, hand)
    steps, said = build(recipe, out, listed)
    assert results(out) == results(sound)
    again = steps[: steps.index("select Caps")]
    # two files change places where one is swapped with another
    assert 1 <= len(again) <= 2
    assert [one for one in said if "damaged" in one or " of an earlier run" in one]


def test_a_file_that_a_loss_of_power_took(
    recipe: dict[str, Any], listed: Path, sound: Path, tmp_path: Path
) -> None:
    """A file of the right size and time that holds zeros is found out too."""
    out = tmp_path / "out"
    stopped(recipe, out, listed, "dedup Members")
    path = next(one for one in left(out) if "first-same" in str(one))
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    steps, _ = build(recipe, out, listed)
    assert steps[:2] == ["dedup EqualValues", "dedup Members"]
    assert results(out) == results(sound)


def test_other_inputs_begin_anew(recipe: dict[str, Any], listed: Path, sound: Path, tmp_path: Path) -> None:
    """Steps of another threshold, of a corpus that was moved or of another program are not used, and are removed."""
    out, other = tmp_path / "out", {**recipe, "rules": {**recipe["rules"], "phash": {"distance": 2}}}
    stopped(other, out, listed, "dedup Members")
    marks = set((out / "work" / "steps" / "dedup").iterdir())
    wanted = json.loads((sound / "steps.json").read_text())
    stopped(recipe, out, listed, "dedup Members")
    assert len(marks) == 1
    assert not marks & set((out / "work" / "steps" / "dedup").iterdir())
    moved = out.rename(tmp_path / "moved")
    with mock.patch.object(steps_, "_program", return_value="another"):
        stopped(recipe, moved, listed, "dedup Members")
    steps, _ = build(recipe, moved, listed)
    assert steps == wanted
    assert results(moved) == results(sound)


def test_a_rehearsal_keeps_no_steps(
    recipe: dict[str, Any], listed: Path, sound: Path, tmp_path: Path
) -> None:
    """A dry run decides in a folder of its own and leaves nothing in that of the corpus."""
    out = tmp_path / "out"
    stopped(recipe, out, listed, "select Caps")
    before = left(out)
    made = Recipe.model_validate({**recipe, "out": str(out)})
    run(made, "select", Options("inline"), Heard(), dry=True)
    assert left(out) == before
    steps, _ = build(recipe, out, listed)
    assert steps[0] == "select Caps"


def test_an_input_that_changed_begins_anew(recipe: dict[str, Any], listed: Path, tmp_path: Path) -> None:
    """What changed under a run is measured again, and no step that saw it before is used."""
    out = tmp_path / "out"
    stopped(recipe, out, listed, "dedup Members")
    made = Recipe.model_validate({**recipe, "out": str(out)})
    layout = Layout(str(out), "test")
    with locked(layout), engine() as inline:
        work = Build(made, layout, inline, Heard(), Verdicts(), read(str(listed)))
        work.discover()
        shard = next(iter(work.shards.values()))
        assert work._forget_changed(f"{shard} has changed")
    steps, _ = build(recipe, out, listed)
    assert steps[0] == "dedup EqualValues"


def test_a_corpus_in_a_store(recipe: dict[str, Any], listed: Path, sound: Path) -> None:
    """On an object store steps are used again as well, and their files are gone in the end."""
    out, fs = "memory://steps", fsspec.filesystem("memory")
    stopped(recipe, out, listed, "select Caps")
    assert fs.find("/steps/work/steps/select")
    assert not fs.find("/steps/work/steps/dedup")
    steps, _ = build(recipe, out, listed)
    assert steps[0] == "select Caps"
    found = {name.removeprefix("/steps/"): fs.cat(name) for name in fs.find("/steps/work/decisions")}
    assert found == {name: data for name, data in results(sound).items() if name.startswith("work/decisions")}
    assert not fs.find("/steps/work/steps")
    fs.rm("/steps", recursive=True)
