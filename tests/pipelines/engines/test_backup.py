"""Backup tasks of the local engine: a straggler runs a second time, and whichever ends first counts."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.engines import pace
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Json, Step
from pipelines.layout import Layout
from schemas.errors import InputError
from tests.pipelines.engines import contract
from tests.pipelines.engines.contract import step
from tests.pipelines.engines.test_isolation import is_alive

TASKS: list[Json] = [{"numbers": list(range(n, n + 5))} for n in range(6)]


@pytest.fixture
def rows() -> list[int]:
    """What the engine's reporter of rows was told."""
    return []


@pytest.fixture
def engine(tmp_path: Path, rows: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    """Two workers; a task may be late after half a second."""
    monkeypatch.setattr(pace, "SHORTEST", 0.5)
    made = LocalEngine(2, rows.append)
    made.open(Layout(str(tmp_path / "corpus")))
    yield made
    made.close()


def slow(folder: Path, number: int, **setup: object) -> Step:
    """A step whose task or partition of that number sleeps for an hour when it is done first."""
    return step("Straggles", notes=str(folder), slow=number, **setup)


def tries(folder: Path, name: str) -> int:
    """How often something was begun."""
    return len(list(folder.glob(f"{name}.*")))


def children(folder: Path) -> set[int]:
    """The processes that began something."""
    return {int(path.name.rpartition(".")[2]) for path in folder.iterdir()}


def test_a_straggler_in_a_map(engine: LocalEngine, rows: list[int], tmp_path: Path) -> None:
    """The other worker does its task too; each receipt is heard of once, and rows are counted once."""
    notes = tmp_path / "notes"
    notes.mkdir()
    told: list[int] = []
    since = time.monotonic()
    receipts = engine.map(slow(notes, 2), TASKS, lambda index, receipt: told.append(index))
    assert time.monotonic() - since < 60
    assert [receipt["sum"] for receipt in receipts] == [sum(task["numbers"]) for task in TASKS]
    assert sorted(told) == list(range(6))
    assert tries(notes, "run-2") == 2
    assert sum(rows) == 30
    contract.maps_in_order(engine)
    assert sum(is_alive(child) for child in children(notes)) == 1, "the one that lost was ended"


@pytest.mark.parametrize(("verb", "number"), [("split", 5), ("reduce", 0)])
def test_a_straggler_in_a_shuffle(engine: LocalEngine, tmp_path: Path, verb: str, number: int) -> None:
    """The same in both halves of a shuffle, whose pieces are those of the one that won."""
    notes = tmp_path / "notes"
    notes.mkdir()
    found = engine.shuffle(slow(notes, number, modulus=3), TASKS, 3)
    assert found == engine.shuffle(step("Sums", modulus=3), TASKS, 3)
    assert tries(notes, f"{verb}-{number}") == 2
    assert not list((tmp_path / "corpus").rglob("*.arrow"))


def test_a_backup_task_that_dies_or_fails(engine: LocalEngine, tmp_path: Path) -> None:
    """Nothing that happens to the second one counts: the first goes on to its end, and no row is blamed."""
    notes = tmp_path / "notes"
    notes.mkdir()
    deeds = {str(number): "abort" for number in range(1, 20)}
    receipts = engine.map(slow(notes, 1, seconds=6, deeds=deeds), TASKS)
    assert [receipt["verdicts"] for receipt in receipts] == [{}] * 6
    assert tries(notes, "run-1") > 1


def test_a_straggler_that_fails(engine: LocalEngine, tmp_path: Path) -> None:
    """A failure is raised where no other worker is at the same task."""
    with pytest.raises(InputError, match="cannot read"):
        engine.map(step("Fails"), [{"number": n, "sentence": n == 3} for n in range(4)])
    contract.maps_in_order(engine)


def test_what_asks_others_is_done_once(engine: LocalEngine, tmp_path: Path) -> None:
    """A step that may not run twice waits for its straggler."""
    notes = tmp_path / "notes"
    notes.mkdir()
    engine.map(replace(slow(notes, 4, seconds=3), twice=False), TASKS)
    assert tries(notes, "run-4") == 1
