"""What the nodes of a Ray cluster have: room for workers, and a view of the corpus's folder."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.engines.step import Resources, Step
from schemas.errors import InputError


class _Want(NamedTuple):
    """How much of one resource a worker asks for, and how a recipe and a reader name it."""

    amount: float
    key: str
    unit: str
    size: float = 1


def room(step: Step) -> int:
    """Returns how many workers of the step fit the nodes that are up; raises InputError where none does."""
    nodes = [node["Resources"] for node in _alive()]
    wants = _wants(step.resources)
    found = sum(min(_times(node, name, want) for name, want in wants.items()) for node in nodes)
    if not found:
        raise InputError(_misfit(step, nodes, wants))
    return found


def must_see(path: str, out: str) -> None:
    """Raises InputError where some node does not see the file at `path`, in the folder `out` of the corpus."""
    for node in _alive():
        on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        sees = ray.remote(os.path.exists).options(scheduling_strategy=on_node, num_cpus=0)
        if not ray.get(sees.remote(os.path.abspath(path)), timeout=120):
            raise InputError(
                f"{out} is not visible on node {node['NodeManagerAddress']} of the cluster: "
                "give --out a folder that all nodes share, or an s3:// or gs:// address"
            )


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _wants(resources: Resources) -> dict[str, _Want]:
    """Returns what a worker asks for, by Ray's name of the resource."""
    wants = {
        "GPU": _Want(resources.gpus, "gpus", "GPUs"),
        "CPU": _Want(resources.cpus, "cpus", "CPUs"),
        "memory": _Want(resources.memory_bytes, "memory_gb", "GB of memory", 1e9),
    }
    return {name: want for name, want in wants.items() if want.amount}


def _times(node: Mapping[str, float], name: str, want: _Want) -> int:
    # ten workers of 0.1 CPUs fit one CPU, though 1 // 0.1 is 9
    return int(node.get(name, 0) / want.amount + 1e-6)


def _misfit(step: Step, nodes: list[dict[str, float]], wants: Mapping[str, _Want]) -> str:
    """Returns the sentence for a worker that no node has room for: what it asks for, and what there is."""
    for name, want in wants.items():
        has = [node.get(name, 0) for node in nodes]
        if any(_times(node, name, want) for node in nodes):
            continue
        asks = (
            f"phase {step.name} asks for {want.amount / want.size:g} {want.unit} a worker "
            f"(resources.phases.{step.name}.{want.key})"
        )
        if want.amount > sum(has):
            return f"{asks}, but the cluster has {sum(has) / want.size:g}, so no node can run it"
        return f"{asks}, but no node of the cluster has so much"
    return f"no node of the cluster has all that phase {step.name} asks for a worker (resources.phases.{step.name})"
