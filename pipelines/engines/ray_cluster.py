"""Joins a Ray cluster, or makes one in this process; asks its nodes for room and for a view of the corpus's folder.

What Ray refuses is one sentence.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engines.step import Resources, Step
from schemas.errors import InputError, missing

try:
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # its stub is not whole
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise InputError(missing("the ray engine", "ray")) from error

PATIENCE = 15.0
"""Seconds within which a cluster has to answer."""

SETTINGS = 4
"""The number of HTTP/2's frame SETTINGS."""

CURRENT = "/tmp/ray/ray_current_cluster"
"""Where `ray start` notes its address; a head that was killed leaves it behind."""


def connect(address: str | None, workers: int | None) -> None:
    """Joins the cluster at `address`, or makes one of `workers` CPUs here; raises InputError where Ray refuses."""
    # our own workers' processes; Ray's usage report would be a call to the outside
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        # by name: a plain ray.init() looks for a running cluster, and hangs on what a killed one left
        refused = "Ray cannot start a cluster on this machine"
        remedy = "free some memory or processor time, or leave out --engine ray"
        _init(refused, remedy, address="local", num_cpus=workers, include_dashboard=False)
        return
    address = _current() if address == "auto" else address
    _check(address)
    refused = f"no Ray cluster can be joined at {address}"
    remedy = "check that the cluster runs and has the same versions of Ray and Python as this process"
    _init(refused, remedy, address=address)


def disconnect() -> None:
    """Leaves the cluster; one that was made here ends."""
    ray.shutdown()


def _init(refused: str, remedy: str, **asked: Any) -> None:
    try:
        ray.init(logging_level="error", log_to_driver=False, **asked)
    # Ray raises plain Exception too, where its start takes too long
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{refused} ({reason}): {remedy}") from error


def _current() -> str:
    """Returns the address of the cluster of this process or machine, as Ray itself looks for it."""
    try:
        address = os.environ.get("RAY_ADDRESS") or Path(CURRENT).read_text().strip()
    except OSError as error:
        raise InputError(
            "no Ray cluster runs on this machine: give --address host:port, or leave it out to make one here"
        ) from error
    return address


def _check(address: str) -> None:
    """Raises InputError unless Ray answers at host:port; with anything else ray.init would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise InputError(
            f"{address!r} is not an address of a Ray cluster: give host:port, ray://host:port or auto"
        )
    try:
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            # with TLS the greeting is another one
            secure = os.environ.get("RAY_USE_TLS") in ("1", "true")
            if not secure and not _greets(connection):
                reason = f"nothing that speaks Ray's protocol listens at {host}:{port}"
            elif not address.startswith("ray://") and not _is_head(address):
                reason = f"what listens at {host}:{port} is not the head of a cluster, whose port is 6379 by default"
            else:
                return
    except OSError as error:
        reason = error.strerror or "no answer"
    raise InputError(
        f"no Ray cluster answers at {address} ({reason}): check the address, or leave --address out to use "
        "this machine"
    )


def _is_head(address: str) -> bool:
    """Returns whether the head of a cluster answers: Ray's other ports, for one, speak the same protocol."""
    try:
        GcsClient(address=address)
    except RayError:
        return False
    return True


def _greets(connection: socket.socket) -> bool:
    """Returns whether the other side answers HTTP/2's preface and SETTINGS with SETTINGS of its own (RFC 9113)."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0)))
    header = connection.recv(9, socket.MSG_WAITALL)
    return len(header) == 9 and header[3] == SETTINGS


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
