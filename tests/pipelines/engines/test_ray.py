"""The Ray engine on a cluster of three nodes, and what goes wrong with clusters."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

from dataclasses import replace

from pipelines.engines import ray as engine_module
from pipelines.engines.ray import RayEngine
from pipelines.engines.step import Resources
from pipelines.layout import Layout
from schemas.errors import InputError
from tests.pipelines.engines import contract
from tests.pipelines.engines.contract import step

# Ray on itself
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def engine(ray_cluster: Any, tmp_path: Path) -> Iterator[RayEngine]:
    made = RayEngine(None, ray_cluster.address)
    made.open(Layout(str(tmp_path / "corpus")))
    yield made
    made.close()


def test_map_and_shuffle(engine: RayEngine) -> None:
    """Receipts come in the order of tasks and partitions, on all nodes."""
    contract.maps_in_order(engine)
    contract.shuffles(engine)
    contract.shuffles_nothing(engine)


def test_poison(engine: RayEngine) -> None:
    """Exactly the rows that misbehave are blamed; Ray sees no failure at all."""
    contract.blames_rows(engine)


def test_failures(engine: RayEngine, tmp_path: Path) -> None:
    """Failures cross Ray as themselves, and the engine goes on afterwards."""
    contract.carries_failures(engine, str(tmp_path))
    contract.maps_in_order(engine)


def test_more_gpus_than_there_are(engine: RayEngine) -> None:
    """A phase that asks for more GPUs or CPUs than the cluster has is refused by the recipe's key."""
    wanted = replace(step("Sums"), resources=Resources(gpus=4))
    with pytest.raises(InputError, match=r"4 GPUs a worker \(resources\.phases\.measure\.gpus\).*has 0"):
        engine.map(wanted, [{"numbers": [1]}])
    wanted = replace(step("Sums"), resources=Resources(cpus=400))
    with pytest.raises(InputError, match=r"400 CPUs a worker .*has 3"):
        engine.map(wanted, [{"numbers": [1]}])


def test_more_than_a_node_has(engine: RayEngine) -> None:
    """A worker that fits the whole cluster but no single node of it is refused at once."""
    wanted = replace(step("Sums"), resources=Resources(cpus=2))
    with pytest.raises(InputError, match=r"2 CPUs a worker .*no node"):
        engine.map(wanted, [{"numbers": [1]}])
    wanted = replace(step("Sums"), resources=Resources(memory_bytes=10**15))
    with pytest.raises(InputError, match=r"memory a worker .*no node"):
        engine.map(wanted, [{"numbers": [1]}])


def test_a_folder_that_a_node_does_not_see(
    engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus on one node's own disk is refused before any work, with a remedy."""
    # what this machine's nodes see is the same, so the driver looks for what nobody has
    monkeypatch.setattr(engine_module, "join", lambda folder, name: "/proc/self/fd/nothing")
    monkeypatch.setattr("pipelines.files.Store.write_bytes", lambda *arguments: None)
    with pytest.raises(
        InputError, match=r"is not visible on node .* give --out a folder that all nodes share"
    ):
        engine.open(Layout(str(tmp_path)))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_nobody_answers(address: str) -> None:
    """An address where nothing listens is one sentence within 15 seconds."""
    since = time.monotonic()
    with pytest.raises(InputError, match=r"no Ray cluster answers at .*127.0.0.1:1 "):
        RayEngine(None, address)
    assert time.monotonic() - since < 16


@pytest.mark.parametrize("address", ["nonsense", "host:port", "ray://", "127.0.0.1:99999"])
def test_no_address(address: str) -> None:
    """What is no address is said to be none."""
    with pytest.raises(InputError, match=r"no address of a Ray cluster|no Ray cluster answers"):
        RayEngine(None, address)


def test_somebody_else_answers() -> None:
    """A server that is no Ray cluster, and says nothing, is one sentence, not a hang."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        since = time.monotonic()
        with pytest.raises(InputError, match=rf"no Ray cluster .*{address}"):
            RayEngine(None, address)
        assert time.monotonic() - since < 20


def test_the_address_that_a_killed_head_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` with only a dead cluster's address to go by is one sentence, not a hang."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127.0.0.1:1"):
        RayEngine(None, "auto")
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(engine_module, "CURRENT", str(tmp_path / "ray_current_cluster"))
    with pytest.raises(InputError, match=r"no Ray cluster runs on this machine"):
        RayEngine(None, "auto")
    (tmp_path / "ray_current_cluster").write_text("127.0.0.1:1")
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127.0.0.1:1"):
        RayEngine(None, "auto")
