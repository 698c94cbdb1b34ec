"""How many workers fit the nodes of a Ray cluster."""

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

from pipelines.engines import ray_cluster as ray_nodes
from pipelines.engines.step import Resources, Step
from schemas.errors import InputError

NODES = [
    {"Alive": True, "Resources": {"CPU": 1.0, "memory": 8e9}},
    {"Alive": True, "Resources": {"CPU": 5.0, "GPU": 1.0, "memory": 2e9}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "memory": 1e12}},
]


@pytest.fixture(autouse=True)
def nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes that are up and one that is not."""
    monkeypatch.setattr(ray_nodes.ray, "nodes", lambda: NODES)


@pytest.mark.parametrize(
    ("resources", "workers"),
    [
        (Resources(), 6),
        (Resources(cpus=2), 2),
        (Resources(cpus=0.1), 60),
        (Resources(gpus=0.5), 2),
        (Resources(memory_bytes=10**9), 3),
    ],
)
def test_room(resources: Resources, workers: int) -> None:
    """Every node that is up has room for whole workers only; the scarcest resource decides."""
    assert ray_nodes.room(Step("score", "", resources=resources)) == workers


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        (Resources(cpus=8), r"8 CPUs a worker \(resources\.phases\.score\.cpus\), but the cluster has 6, so"),
        (Resources(cpus=6), r"6 CPUs a worker .* no node of the cluster has so much"),
        (Resources(gpus=2), r"2 GPUs a worker .* the cluster has 1"),
        (Resources(memory_bytes=9 * 10**9), r"9 GB of memory a worker .*\.memory_gb\), but no node"),
        (Resources(gpus=1, memory_bytes=4 * 10**9), r"no node .* has all that phase score asks for"),
    ],
)
def test_no_room(resources: Resources, sentence: str) -> None:
    """A worker that fits no node is refused with the recipe's key and with what there is."""
    with pytest.raises(InputError, match=sentence):
        ray_nodes.room(Step("score", "", resources=resources))
