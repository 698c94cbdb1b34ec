"""Batches of tiny tasks on Ray: what is lost, blamed or late in one."""

from collections import deque
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

from pipelines.engines import pace
from pipelines.engines.child import WorkerDied
from pipelines.engines.pace import Pace
from pipelines.engines.ray import RayEngine
from pipelines.engines.step import Json
from schemas.errors import InputError
from tests.pipelines.engines.clusters import RAY
from tests.pipelines.engines.contract import step
from tests.pipelines.engines.test_backup import slow, tries

pytestmark = RAY

TASKS: list[Json] = [{"numbers": list(range(n, n + 5))} for n in range(60)]


@pytest.fixture
def fours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch has four tasks from the first on."""

    def batch(self: Pace, left: deque[int], workers: int) -> list[int]:
        return [left.popleft() for _ in range(min(4, len(left)))]

    monkeypatch.setattr(Pace, "batch", batch)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The batches that were handed out."""
    found: list[list[int]] = []
    batch = Pace.batch

    def noted(self: Pace, left: deque[int], workers: int) -> list[int]:
        found.append(batch(self, left, workers))
        return found[-1]

    monkeypatch.setattr(Pace, "batch", noted)
    return found


def test_tiny_tasks_go_out_in_batches(ray_engine: RayEngine, batches: list[list[int]]) -> None:
    """Hosts get several tasks in one call once some are done; each receipt is heard of once, in the tasks' order."""
    told: list[int] = []
    tasks: list[Json] = [{"numbers": [n]} for n in range(500)]
    receipts = ray_engine.map(step("Sums"), tasks, lambda index, receipt: told.append(index))
    assert [receipt["sum"] for receipt in receipts] == list(range(500))
    assert sorted(told) == list(range(500))
    assert [index for batch in batches for index in batch] == list(range(500))
    assert len(batches[0]) == 1
    assert len(batches) < 250


def test_heavy_tasks_go_first(ray_engine: RayEngine, batches: list[list[int]]) -> None:
    """Hosts get the heaviest tasks first, and receipts stay in the order of the tasks."""
    weights = [float(n % 7) for n in range(60)]
    receipts = ray_engine.map(step("Sums"), TASKS, weights=weights)
    assert [receipt["sum"] for receipt in receipts] == [sum(task["numbers"]) for task in TASKS]
    handed_out = [weights[index] for batch in batches for index in batch]
    assert handed_out == sorted(weights, reverse=True)


@pytest.mark.usefixtures("fours")
def test_a_batch_with_a_row_that_crashes(ray_engine: RayEngine) -> None:
    """Only that row of that task is blamed, and the other tasks of its batch are done."""
    tasks: list[Json] = [{"rows": 2, "deeds": {"1": "abort"} if n == 1 else {}} for n in range(8)]
    receipts = ray_engine.map(step("Rows"), tasks)
    assert [sorted(one["verdicts"]) for one in receipts] == [["1"] if n == 1 else [] for n in range(8)]
    assert [one["seen"] for one in receipts] == [[0] if n == 1 else [0, 1] for n in range(8)]


@pytest.mark.usefixtures("fours")
def test_a_batch_with_a_task_that_fails(ray_engine: RayEngine) -> None:
    """The receipts of the tasks before it are heard of, and then its failure is raised."""
    told: list[int] = []
    tasks: list[Json] = [{"number": n, "sentence": n == 2} for n in range(4)]
    with pytest.raises(InputError, match="cannot read"):
        ray_engine.map(step("Fails"), tasks, lambda index, receipt: told.append(index))
    assert told == [0, 1]


@pytest.mark.usefixtures("fours")
def test_a_batch_whose_host_is_lost(ray_engine: RayEngine, tmp_path: Path) -> None:
    """Its tasks are done again one by one, those of other batches are not, and each receipt is heard of once."""
    told: list[int] = []
    lossy = step("LosesHost", verb="map", notes=str(tmp_path), times=1)
    receipts = ray_engine.map(lossy, TASKS, lambda index, receipt: told.append(index))
    assert [receipt["sum"] for receipt in receipts] == [sum(task["numbers"]) for task in TASKS]
    assert sorted(told) == list(range(60))
    assert len(list(tmp_path.iterdir())) <= len(TASKS) + 4


@pytest.mark.usefixtures("fours")
def test_a_batch_with_a_task_that_loses_every_host(ray_engine: RayEngine, tmp_path: Path) -> None:
    """Those before it in its batch are done; that task alone ends the run when it has lost its hosts too often."""
    told: list[int] = []
    tasks: list[Json] = [{"rows": 1, "deeds": {"0": "orphan"} if n == 2 else {}} for n in range(4)]
    with pytest.raises(WorkerDied, match=r"lost a worker 4 times over the same task"):
        ray_engine.map(step("Rows"), tasks, lambda index, receipt: told.append(index))
    assert {0, 1} <= {*told} <= {0, 1, 3}


def test_a_batch_whose_first_task_never_ends(
    ray_engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle hosts do what waits behind a task that is late, and that task too."""
    monkeypatch.setattr(pace, "SHORTEST", 0.5)
    told: list[int] = []
    receipts = ray_engine.map(slow(tmp_path, 30), TASKS, lambda index, receipt: told.append(index))
    assert [receipt["sum"] for receipt in receipts] == [sum(task["numbers"]) for task in TASKS]
    assert sorted(told) == list(range(60))
    assert tries(tmp_path, "run-30") == 2
