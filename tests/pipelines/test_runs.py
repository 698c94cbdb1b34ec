"""`select --dry-run` tells what would be kept and writes nothing at all."""

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.recipe.model import Recipe
from pipelines.runs import Options, run
from schemas.errors import InputError
from schemas.manifest import Funnel
from tests.pipelines import raw
from tests.pipelines.building import Heard

INLINE = Options(engine="inline")


class Listener(Heard):
    """Also keeps the funnels."""

    funnels: Mapping[str, Funnel]

    def finish(self, *facts: object) -> None:
        assert isinstance(facts[0], Mapping)
        self.funnels = facts[0]


def recipe(folder: Path, out: str, **more: Any) -> Recipe:
    raw.scored(folder / "in" / "a.parquet", [0.9, 0.5, 0.2, 0.1])
    source = {"id": "web", "path": str(folder / "in"), "columns": "laion", "clip_score": "similarity"}
    rules = {"clip": {"min": 0.3}, **raw.OFF} | more
    return Recipe.model_validate({"sources": [source], "rules": rules, "out": out})


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder below, with times and bytes: whatever is written, moved or touched changes it."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes() if path.is_file() else b"")
        for path in sorted([folder, *folder.rglob("*")])
    }


def test_nothing_is_written_into_a_corpus(tmp_path: Path) -> None:
    """Another threshold is told from what is measured, scored and clustered already; no file or time changes."""
    out = tmp_path / "out"
    run(recipe(tmp_path, str(out)), "card", INLINE, Heard())
    before, heard = state(out), Listener()
    run(recipe(tmp_path, str(out), clip={"min": 0.15}), "select", INLINE, heard, dry=True)
    assert state(out) == before
    assert heard.funnels["web"].kept == 3
    assert heard.ran["measure"] == heard.ran["dedup"] == 0


class Watcher(Heard):
    """Also keeps how many objects were left out of garbage collections when the phases began."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen: list[int] = []

    def begin(self, phase: str, tasks: int, done: int) -> None:
        self.frozen.append(gc.get_freeze_count())
        super().begin(phase, tasks, done)


@pytest.mark.parametrize("by_caller", [False, True])
def test_older_objects_are_left_out_of_garbage_collections(tmp_path: Path, by_caller: bool) -> None:
    """While a run is at work, and no longer; a caller who has left them out himself has it so afterwards."""
    if by_caller:
        gc.freeze()
    try:
        heard = Watcher()
        run(recipe(tmp_path, str(tmp_path / "out")), "measure", INLINE, heard)
        assert heard.frozen
        assert min(heard.frozen) > 0
        assert (gc.get_freeze_count() > 0) == by_caller
    finally:
        gc.unfreeze()


def test_rows_that_come_back_to_life_are_scored_for_this_once(tmp_path: Path) -> None:
    """A rule before clip is loosened: the scores that are missing are made, told, and not left behind."""
    out = tmp_path / "out"
    with pytest.raises(InputError, match="the corpus is empty"):
        run(recipe(tmp_path, str(out), aspect_ratio={"max": 1.1}), "card", INLINE, Heard())
    before, heard = state(out), Listener()
    run(recipe(tmp_path, str(out)), "select", INLINE, heard, dry=True)
    assert state(out) == before
    assert heard.funnels["web"].kept == 2


def test_nothing_is_written_where_there_is_no_corpus_yet(tmp_path: Path) -> None:
    """All is measured for this once; the folder of the corpus does not appear."""
    heard = Listener()
    run(recipe(tmp_path, str(tmp_path / "out")), "select", INLINE, heard, dry=True)
    assert heard.funnels["web"].kept == 2
    assert not (tmp_path / "out").exists()


def test_a_corpus_on_an_object_store_is_left_alone_too(tmp_path: Path, s3_options: dict[str, Any]) -> None:
    """Its results are read from there, and no object is written."""
    from pipelines.files import Store

    made = recipe(tmp_path, "s3://bucket/dry").model_copy(update={"storage_options": s3_options})
    run(made, "select", INLINE, Heard())
    store = Store(s3_options)
    before = [(info, store.identity(info.path)) for info in store.list_files("s3://bucket/dry")]
    heard = Listener()
    run(made, "select", INLINE, heard, dry=True)
    assert [(info, store.identity(info.path)) for info in store.list_files("s3://bucket/dry")] == before
    assert heard.ran["measure"] == 0
    assert heard.funnels["web"].kept == 2


@pytest.mark.parametrize("more", [{"engine": "ray", "address": "h:1"}, {"engine": "beam", "runner": ["--x"]}])
def test_a_dry_run_stays_on_this_host(tmp_path: Path, more: dict[str, Any]) -> None:
    """A cluster cannot read the temporary folder: one sentence says which options to leave out."""
    with pytest.raises(InputError, match="a dry run works in a temporary folder of this host"):
        run(recipe(tmp_path, str(tmp_path / "out")), "select", Options(**more), Heard(), dry=True)
