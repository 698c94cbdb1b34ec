"""The Ray engine on a cluster of three nodes."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

from pipelines.engines import ray as engine_module
from pipelines.engines.ray import RayEngine
from pipelines.engines.step import Resources
from pipelines.layout import Layout
from schemas.errors import InputError
from tests.pipelines.engines import contract
from tests.pipelines.engines.clusters import RAY
from tests.pipelines.engines.contract import step

pytestmark = RAY


def test_map_and_shuffle(ray_engine: RayEngine, tmp_path: Path) -> None:
    """Receipts come in the order of tasks and partitions, on all nodes, for a folder that all nodes see."""
    ray_engine.open(Layout(str(tmp_path / "corpus")))
    contract.maps_in_order(ray_engine)
    contract.shuffles(ray_engine)
    contract.shuffles_nothing(ray_engine)
    contract.describes_what_is_left(ray_engine, str(tmp_path))


def test_no_tasks(ray_engine: RayEngine) -> None:
    """Without tasks nothing is asked of the cluster."""
    assert ray_engine.map(step("Sums"), []) == []
    assert ray_engine.shuffle(step("Sums"), [], 3) == []


def test_poison(ray_engine: RayEngine) -> None:
    """Exactly the rows that misbehave are blamed; Ray sees no failure at all."""
    contract.blames_rows(ray_engine)


def test_failures(ray_engine: RayEngine, tmp_path: Path) -> None:
    """Failures cross Ray as themselves, and the engine goes on afterwards."""
    contract.carries_failures(ray_engine, str(tmp_path))
    contract.maps_in_order(ray_engine)


def test_progress(ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver hears of the rows of each receipt."""
    heard: list[int] = []
    monkeypatch.setattr(ray_engine, "_rows", heard.append)
    ray_engine.map(step("Sums"), [{"numbers": [1, 2]}, {"numbers": [3]}])
    assert sorted(heard) == [1, 2]


def test_hosts_and_children_are_kept(ray_engine: RayEngine) -> None:
    """One pool serves all steps and shuffles; a child serves all steps, and keeps its worker within one."""
    tasks = [{"seconds": 0.3} for _ in range(6)]
    first = ray_engine.map(step("Pid"), tasks)
    again = ray_engine.map(step("Pid"), tasks)
    contract.shuffles(ray_engine)
    other = ray_engine.map(step("Pid", other=True), tasks)
    hosts = {receipt["host"] for receipt in first}
    assert len(hosts) == 3
    assert {receipt["host"] for receipt in again + other} == hosts
    assert len({receipt["pid"] for receipt in first + again + other}) == 3
    assert sum(receipt["before"] == 0 for receipt in first + again) == 3
    assert sum(receipt["before"] == 0 for receipt in other) == 3


def test_other_resources_get_other_hosts(ray_engine: RayEngine) -> None:
    """Hosts whose share of the cluster does not fit the step make room for others."""
    tasks = [{"seconds": 0.1} for _ in range(4)]
    whole = {receipt["host"] for receipt in ray_engine.map(step("Pid"), tasks)}
    wanted = replace(step("Pid"), resources=Resources(cpus=0.5, memory_bytes=10**6))
    halves = {receipt["host"] for receipt in ray_engine.map(wanted, tasks)}
    assert not whole & halves


def test_no_more_than_workers(ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """--workers limits how many hosts there are."""
    monkeypatch.setattr(ray_engine, "_workers", 1)
    wanted = replace(step("Pid"), resources=Resources(cpus=0.25))
    assert len({receipt["host"] for receipt in ray_engine.map(wanted, [{"seconds": 0.1}] * 4)}) == 1


def test_more_than_the_cluster_has(ray_engine: RayEngine) -> None:
    """A phase that asks for more GPUs or CPUs than the cluster has is refused by the recipe's key."""
    wanted = replace(step("Sums"), resources=Resources(gpus=4))
    with pytest.raises(InputError, match=r"4 GPUs a worker \(resources\.phases\.measure\.gpus\).*has 0"):
        ray_engine.map(wanted, [{"numbers": [1]}])
    wanted = replace(step("Sums"), resources=Resources(cpus=400))
    with pytest.raises(InputError, match=r"400 CPUs a worker .*has 3"):
        ray_engine.shuffle(wanted, [{"numbers": [1]}], 2)


def test_more_than_a_node_has(ray_engine: RayEngine) -> None:
    """A worker that fits the whole cluster but no single node of it is refused at once."""
    wanted = replace(step("Sums"), resources=Resources(cpus=2))
    with pytest.raises(InputError, match=r"2 CPUs a worker .*no node"):
        ray_engine.map(wanted, [{"numbers": [1]}])
    wanted = replace(step("Sums"), resources=Resources(memory_bytes=10**15))
    with pytest.raises(InputError, match=r"memory a worker .*no node"):
        ray_engine.map(wanted, [{"numbers": [1]}])


def test_a_folder_that_a_node_does_not_see(
    ray_engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus on one node's own disk is refused before any work, with a remedy."""
    # what this machine's nodes see is the same, so the driver looks for what nobody has
    monkeypatch.setattr(engine_module, "join", lambda folder, name: "/proc/self/fd/nothing")
    monkeypatch.setattr("pipelines.files.Store.write_bytes", lambda *arguments: None)
    with pytest.raises(
        InputError, match=r"is not visible on node .* give --out a folder that all nodes share"
    ):
        ray_engine.open(Layout(str(tmp_path)))
