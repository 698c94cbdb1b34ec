"""The pool of Ray's hosts, and hosts that are lost."""

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

import ray
from ray.exceptions import OutOfDiskError

from pipelines.engines import ray_pool
from pipelines.engines.child import WorkerDied
from pipelines.engines.ray import RayEngine
from pipelines.engines.ray_pool import Pool
from pipelines.engines.step import Json, Resources
from schemas.errors import InputError, OutputError
from tests.pipelines.engines import contract
from tests.pipelines.engines.clusters import RAY
from tests.pipelines.engines.contract import step

pytestmark = RAY

TASKS: list[Json] = [{"numbers": list(range(n, n + 20))} for n in range(8)]


def test_a_host_lost_in_map(ray_engine: RayEngine, tmp_path: Path) -> None:
    """A host that is killed in the middle of a task costs time only, and each receipt is heard of once."""
    told: list[int] = []
    lossy = step("LosesHost", verb="map", notes=str(tmp_path), times=1)
    receipts = ray_engine.map(lossy, TASKS, lambda index, receipt: told.append(index))
    assert receipts == ray_engine.map(step("Sums"), TASKS)
    assert sorted(told) == list(range(8))
    assert len(list(tmp_path.iterdir())) == len(TASKS) + 1


@pytest.mark.parametrize("verb", ["split", "reduce"])
def test_a_host_lost_in_a_shuffle(ray_engine: RayEngine, tmp_path: Path, verb: str) -> None:
    """A host that is killed in the middle of a split or a reduce costs time only."""
    lossy = step("LosesHost", verb=verb, notes=str(tmp_path), times=1)
    assert ray_engine.shuffle(lossy, TASKS, 7) == ray_engine.shuffle(step("Sums"), TASKS, 7)
    assert list(tmp_path.iterdir())


def test_hosts_lost_between_steps(ray_engine: RayEngine) -> None:
    """Where all hosts die between two steps, others take their place, more than a task may lose."""
    half = replace(step("Pid"), resources=Resources(cpus=0.5))
    before = {receipt["host"] for receipt in ray_engine.map(half, [{"seconds": 1}] * 6)}
    assert len(before) > ray_pool.RETRIES
    for host in before:
        os.kill(host, signal.SIGKILL)
    (receipt,) = ray_engine.map(half, [{}])
    assert receipt["host"] not in before


def test_a_task_that_loses_every_host(ray_engine: RayEngine, tmp_path: Path) -> None:
    """A task whose hosts are lost again and again ends the run with a sentence, and the engine goes on."""
    lossy = step("LosesHost", verb="map", notes=str(tmp_path), times=99)
    with pytest.raises(WorkerDied, match=r"^phase measure: the Ray cluster lost a worker 4 times .* go on$"):
        ray_engine.map(lossy, [{"numbers": [1]}])
    assert len(list(tmp_path.iterdir())) == 4
    contract.maps_in_order(ray_engine)


def test_a_failure_stops_the_others(ray_engine: RayEngine) -> None:
    """The first failure ends the other hosts in the middle of their tasks."""
    since = time.monotonic()
    with pytest.raises(InputError, match="cannot read"):
        ray_engine.map(step("Either"), [{"sentence": True}, {"rows": 1}])
    assert time.monotonic() - since < 60, "the other task would take an hour"
    contract.maps_in_order(ray_engine)


def test_few_calls_wait_in_ray(ray_engine: RayEngine) -> None:
    """However many calls there are, a host has one at a time."""
    pool = ray_engine._pool
    text = pool.share(step("Sums").to_text())
    sent, heard, most = 0, 0, 0

    def submit(host: Any, indexes: Sequence[int]) -> Any:
        nonlocal sent, most
        sent += 1
        most = max(most, sent - heard)
        return host.map.remote(text, json.dumps([{"numbers": [1]}] * len(indexes)))

    def receive(index: int, outcome: Json, ref: Any) -> None:
        nonlocal heard
        heard += 1

    pool.fit(Resources(), 3)
    pool.run("measure", range(50), submit, receive)
    assert (sent, heard) == (50, 50)
    # the next call is sent before a receipt is heard of
    assert most <= 4


def test_a_cluster_of_others(ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other jobs hold all CPUs for too long, a sentence says so."""
    monkeypatch.setattr(ray_pool, "PATIENCE", 1.0)
    ray_engine.map(step("Sums"), TASKS)
    late = Pool()
    late.fit(Resources(), 1)
    with pytest.raises(InputError, match=r"started no worker within 1 s: other jobs may hold its CPUs"):
        late.run("dedup", [0], lambda host, index: host.ready.remote(), lambda *_: None)
    late.close()


class Broken:
    """A host whose node lacks a package."""

    def __init__(self) -> None:
        raise ModuleNotFoundError("No module named 'filters'")

    def ready(self) -> None:
        """Is never reached."""


def test_a_node_without_the_project(ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node where no host can start is one sentence that names what is missing."""
    monkeypatch.setattr(ray_pool, "HOST", ray.remote(Broken))
    pool = Pool()
    pool.fit(Resources(cpus=0.001), 1)
    ray_engine._pool.close()
    with pytest.raises(
        InputError, match=r"cannot start .*No module named 'filters'\): every node needs the same"
    ):
        pool.run("measure", [0], lambda host, index: None, lambda *_: None)


def test_a_full_disk(ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without room for the pieces of a shuffle is one sentence."""

    def get(ref: Any) -> Any:
        raise OutOfDiskError("Local disk is full")

    ray_engine.map(step("Sums"), TASKS)
    monkeypatch.setattr(ray_pool.ray, "get", get)
    with pytest.raises(OutputError, match=r"^phase measure: a node of the Ray cluster has no room left"):
        ray_engine.shuffle(step("Sums"), TASKS, 2)
