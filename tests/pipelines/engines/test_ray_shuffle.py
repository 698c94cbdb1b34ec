"""Shuffles on Ray whose pieces are lost."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

import ray

from pipelines.engines.child import WorkerDied
from pipelines.engines.ray import RayEngine, Shuffle
from pipelines.engines.step import Json, Resources, grouped
from tests.pipelines.engines.clusters import NODE, RAY
from tests.pipelines.engines.contract import step

pytestmark = RAY

# pieces of more than 100 kB, which Ray keeps on the node that made them
LARGE: list[Json] = [{"numbers": list(range(n, n + 40_000))} for n in range(4)]


@pytest.fixture(scope="module")
def lost(ray_engine: RayEngine, ray_cluster: Any) -> list[Any]:
    """References to two objects whose node has left with them."""
    node = ray_cluster.add_node(**NODE | {"num_cpus": 0}, resources={"gone": 1})
    ray_cluster.wait_for_nodes()
    make = ray.remote(lambda: [bytes(1_000_000)] * 2)
    made: list[Any] = make.options(num_cpus=0, resources={"gone": 1}, max_retries=0, num_returns=2).remote()
    ray.wait(made, num_returns=2, fetch_local=False)
    ray_cluster.remove_node(node, allow_graceful=False)
    return made


def losing(monkeypatch: pytest.MonkeyPatch, times: int, lose: Callable[[Shuffle], None]) -> list[int]:
    """Has `lose` take pieces away before each of the first rounds of reduces; returns the groups split by round."""
    reduce, split, splits, rounds = Shuffle._reduce, Shuffle._split, list[int](), 0

    def noted(self: Shuffle, groups: Iterable[int]) -> None:
        splits.append(len(groups := list(groups)))
        split(self, groups)

    def after_a_loss(self: Shuffle, partitions: Iterable[int]) -> dict[int, list[int]]:
        nonlocal rounds
        rounds += 1
        if rounds <= times:
            lose(self)
        return reduce(self, partitions)

    monkeypatch.setattr(Shuffle, "_split", noted)
    monkeypatch.setattr(Shuffle, "_reduce", after_a_loss)
    return splits


def lose_two(lost: list[Any]) -> Callable[[Shuffle], None]:
    """Puts the lost objects in the place of two pieces of partition 1."""

    def lose(shuffle: Shuffle) -> None:
        shuffle._pieces[0][1], shuffle._pieces[2][1] = lost

    return lose


def test_lost_pieces(ray_engine: RayEngine, lost: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pieces are lost between split and reduce, only their tasks are split again: same receipts."""
    wanted = ray_engine.shuffle(step("Sums", modulus=2), LARGE, 2)
    splits = losing(monkeypatch, 1, lose_two(lost))
    assert ray_engine.shuffle(step("Sums", modulus=2), LARGE, 2) == wanted
    assert splits == [4, 2]


def test_pieces_lost_for_ever(
    ray_engine: RayEngine, lost: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces that are lost again and again end the run with a sentence."""
    splits = losing(monkeypatch, 99, lose_two(lost))
    with pytest.raises(WorkerDied, match=r"lost pieces of a shuffle 4 times over: see to its nodes"):
        ray_engine.shuffle(step("Sums", modulus=2), LARGE, 2)
    assert splits == [4, 2, 2, 2, 2]


def test_a_node_lost_between_split_and_reduce(
    ray_engine: RayEngine, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that leaves with all pieces and all hosts costs time only, where another one has room."""
    wanted = ray_engine.shuffle(step("Sums", modulus=2), LARGE, 2)
    nodes = [ray_cluster.add_node(**NODE | {"num_cpus": 2})]
    ray_cluster.wait_for_nodes()

    def lose_node(shuffle: Shuffle) -> None:
        nodes.append(ray_cluster.add_node(**NODE | {"num_cpus": 2}))
        ray_cluster.remove_node(nodes.pop(0), allow_graceful=False)

    splits = losing(monkeypatch, 1, lose_node)
    large = replace(step("Sums", modulus=2), resources=Resources(cpus=2))
    try:
        assert ray_engine.shuffle(large, LARGE, 2) == wanted
        assert splits == [4, 4]
    finally:
        ray_cluster.remove_node(nodes[0], allow_graceful=False)


@pytest.mark.parametrize(
    ("tasks", "count", "sizes"), [(3, 8, [1, 1, 1]), (9, 4, [3, 3, 3]), (10, 4, [3, 3, 3, 1])]
)
def test_grouped(tasks: int, count: int, sizes: list[int]) -> None:
    """Tasks are split in few calls, each task once and in order."""
    items: list[Json] = [{"number": n} for n in range(tasks)]
    groups = grouped(items, count)
    assert [len(group) for group in groups] == sizes
    assert [task for group in groups for task in group] == items
