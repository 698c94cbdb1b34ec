"""Backup tasks on Ray: slow hosts, slow nodes, and nodes that are lost in the middle of a shuffle."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

from pipelines.engines import pace
from pipelines.engines.ray import RayEngine
from pipelines.engines.step import Json
from tests.pipelines.engines.clusters import NODE, RAY
from tests.pipelines.engines.contract import step
from tests.pipelines.engines.test_backup import TASKS, slow, tries

pytestmark = RAY


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what workers note; a call may be late after half a second."""
    monkeypatch.setattr(pace, "SHORTEST", 0.5)
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def test_a_straggler_in_a_map(ray_engine: RayEngine, notes: Path) -> None:
    """Another host does its task too, and each receipt is heard of once."""
    told: list[int] = []
    receipts = ray_engine.map(slow(notes, 2), TASKS, lambda index, receipt: told.append(index))
    assert [receipt["sum"] for receipt in receipts] == [sum(task["numbers"]) for task in TASKS]
    assert sorted(told) == list(range(6))
    assert tries(notes, "run-2") == 2


@pytest.mark.parametrize(("verb", "number"), [("split", 5), ("reduce", 0)])
def test_a_straggler_in_a_shuffle(ray_engine: RayEngine, notes: Path, verb: str, number: int) -> None:
    """The pieces are those of the host that ended first."""
    tasks: list[Json] = [{"numbers": list(range(n, n + 40_000))} for n in range(6)]
    found = ray_engine.shuffle(slow(notes, number, modulus=3), tasks, 3)
    assert found == ray_engine.shuffle(step("Sums", modulus=3), tasks, 3)
    assert tries(notes, f"{verb}-{number}") == 2


def test_a_second_host_that_is_lost(ray_engine: RayEngine, notes: Path) -> None:
    """It counts for nothing: the first one goes on to its end."""
    deeds = {str(number): "orphan" for number in range(1, 20)}
    receipts = ray_engine.map(slow(notes, 1, seconds=8, deeds=deeds), TASKS)
    assert [receipt["sum"] for receipt in receipts] == [sum(task["numbers"]) for task in TASKS]
    assert tries(notes, "run-1") == 2


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_slow_node(ray_engine: RayEngine, notes: Path) -> None:
    """A node that never ends a task costs what its absence does; one of a third of the speed costs 1.3 times."""
    tasks: list[Json] = [{"numbers": [n]} for n in range(90)]

    def seconds(name: str, more: float) -> float:
        (notes / name).mkdir()
        ray_engine.map(step("Sums"), TASKS)
        since = time.monotonic()
        ray_engine.map(step("SlowNode", notes=str(notes / name), seconds=1, more=more), tasks)
        return time.monotonic() - since

    sound, slower, stuck = seconds("sound", 0), seconds("slower", 2), seconds("stuck", 3600)
    print(
        f"three sound nodes {sound:.1f} s, one of a third of the speed {slower:.1f} s, one stuck {stuck:.1f} s"
    )
    assert slower <= 1.3 * sound
    # two nodes of three are left
    assert stuck <= 1.3 * 1.5 * sound


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_node_lost_in_the_middle_of_a_shuffle(ray_engine: RayEngine, ray_cluster: Any, notes: Path) -> None:
    """Only what lay on the node is split again, and only partitions that were not done are reduced."""
    tasks: list[Json] = [{"numbers": list(range(n, n + 40_000))} for n in range(8)]
    wanted = ray_engine.shuffle(step("Sums", modulus=24), tasks, 24)
    lost = ray_cluster.add_node(**NODE | {"num_cpus": 1})
    ray_cluster.wait_for_nodes()
    # until a host is up there
    while len({one["host"] for one in ray_engine.map(step("Pid"), [{"seconds": 0.5}] * 8)}) < 4:
        pass
    ended = threading.Event()

    def lose() -> None:
        """Takes the node away when it has done a partition."""
        while not ended.wait(0.05):
            if list(notes.glob(f"reduce-*-{raylet}.*")):
                ray_cluster.remove_node(lost, allow_graceful=False)
                return

    raylet = lost.all_processes["raylet"][0].process.pid
    thread = threading.Thread(target=lose)
    thread.start()
    try:
        found = ray_engine.shuffle(step("Nodes", modulus=24, notes=str(notes)), tasks, 24)
    finally:
        ended.set()
        thread.join()
    assert found == wanted
    begun = [path.name.split(".")[0].split("-") for path in notes.iterdir()]
    splits = Counter(number for verb, number, _ in begun if verb == "split")
    on_lost = {number for verb, number, where in begun if verb == "split" and where == str(raylet)}
    assert on_lost, "the node had its share"
    assert {number for number, count in splits.items() if count > 1} <= on_lost
    reduces = Counter(number for verb, number, _ in begun if verb == "reduce")
    assert sum(reduces.values()) <= 24 + 4, "those at work on the node, and those that missed its pieces"
