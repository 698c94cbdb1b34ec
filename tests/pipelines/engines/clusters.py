"""Ray clusters on this machine, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.pipelines.engines.contract import QUIET

NODE = {"num_cpus": 1, "object_store_memory": 100 * 1024 * 1024, "include_dashboard": False}

QUICK = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
"""How Ray looks for nodes that are gone: within seconds, where it takes half a minute by default."""

RAY = [
    # one cluster for all tests that need one, so one process runs them
    pytest.mark.xdist_group("ray"),
    *QUIET,
]
"""Marks of every test that uses Ray."""


@contextmanager
def started(nodes: int) -> Iterator[Any]:
    """A cluster of so many nodes, ended with all its processes."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"_system_config": QUICK})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
