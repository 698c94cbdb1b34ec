"""The embedded engine."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engines.local import LocalEngine, Pieces, default_workers
from pipelines.engines.step import Json, Step
from pipelines.layout import Layout
from schemas.errors import InputError
from tests.pipelines.engines import contract
from tests.pipelines.engines.contract import step
from tests.pipelines.engines.test_isolation import is_alive


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngine]:
    made = LocalEngine(2)
    made.open(Layout(str(tmp_path / "corpus")))
    yield made
    made.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_map_and_shuffle(workers: int, tmp_path: Path) -> None:
    """Receipts come in the order of tasks and partitions; nothing of a shuffle is left on disk."""
    engine = LocalEngine(workers)
    engine.open(Layout(str(tmp_path / "corpus")))
    contract.maps_in_order(engine)
    contract.shuffles(engine)
    contract.shuffles_into_many(engine)
    contract.shuffles_nothing(engine)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    contract.describes_what_is_left(engine, str(tmp_path))
    engine.close()


def test_few_rows_of_a_shuffle_lie_twice_on_the_disk(tmp_path: Path) -> None:
    """Bundles of partitions are taken apart a few at a time, and are gone before the next."""
    seen: list[tuple[int, int]] = []

    class Watching(LocalEngine):
        def _reduce_pieces(self, step: Step, pieces: list[tuple[int, Pieces]]) -> list[Json]:
            found = super()._reduce_pieces(step, pieces)
            names = [path.name for path in tmp_path.rglob("*.arrow")]
            apart = sum(name.startswith("bundle-") for name in names)
            seen.append((apart, len(names) - apart))
            return found

    engine = Watching(2)
    engine.open(Layout(str(tmp_path / "corpus")))
    contract.shuffles_into_many(engine)
    engine.close()
    assert len(seen) > 5
    assert all(apart <= 2 for apart, _ in seen)
    assert [first == 0 for _, first in seen] == [False] * (len(seen) - 1) + [True], "freed before the last"


def test_poison(engine: LocalEngine) -> None:
    """Exactly the rows that misbehave are blamed."""
    contract.blames_rows(engine)


def test_failures(engine: LocalEngine, tmp_path: Path) -> None:
    """Failures cross as themselves, and the engine goes on afterwards."""
    contract.carries_failures(engine, str(tmp_path))
    contract.maps_in_order(engine)


def test_workers_are_used_again() -> None:
    """One child a worker serves all tasks of all steps, each with its share of threads."""
    engine = LocalEngine(2)
    first = engine.map(step("Pid"), [{"seconds": 0.3} for _ in range(6)])
    second = engine.map(step("Pid"), [{"seconds": 0.3} for _ in range(2)])
    assert len({receipt["pid"] for receipt in first}) == 2
    assert {receipt["pid"] for receipt in second} <= {receipt["pid"] for receipt in first}
    assert {receipt["threads"] for receipt in first} == {"1"}
    engine.close()
    assert not any(is_alive(receipt["pid"]) for receipt in first)


def test_a_failure_stops_the_others() -> None:
    """The first failure ends the other workers in the middle of their tasks."""
    engine = LocalEngine(2)
    since = time.monotonic()
    tasks = [{"number": 1, "sentence": True}, {"rows": 1}]
    with pytest.raises(InputError):
        engine.map(step("Either"), tasks)
    assert time.monotonic() - since < 60, "the other task would take an hour"
    engine.close()


def test_no_tasks() -> None:
    """Nothing to do is done at once, without a process."""
    engine = LocalEngine(2)
    assert engine.map(step("Sums"), []) == []
    assert engine.shuffle(step("Sums"), [], 3) == []
    engine.close()


def test_heavy_tasks_go_first() -> None:
    """One worker does the heaviest tasks first; receipts stay in the order of the tasks."""
    engine, told = LocalEngine(1), list[int]()
    tasks: list[Json] = [{"numbers": [n]} for n in range(5)]
    receipts = engine.map(
        step("Sums"), tasks, lambda index, _: told.append(index), weights=[1.0, 9.0, 1.0, 5.0, 9.0]
    )
    assert [receipt["sum"] for receipt in receipts] == [0, 1, 2, 3, 4]
    assert told == [1, 4, 3, 0, 2]
    engine.close()


def test_default_workers() -> None:
    """One worker for each core that the process may use."""
    assert default_workers() == len(os.sched_getaffinity(0))
