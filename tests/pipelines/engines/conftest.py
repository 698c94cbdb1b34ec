"""One Ray cluster of three nodes for all tests that need one."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pipelines.engines.clusters import started


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A cluster on this machine: a head and two nodes, one slot for a worker each."""
    pytest.importorskip("ray", reason="the Ray tests need the extra ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with started(nodes=3) as cluster:
        yield cluster
