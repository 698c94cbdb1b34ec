"""One Ray cluster of three nodes for all tests that need one."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipelines.engines import EngineName
from pipelines.runs import Options
from tests.pipelines.engines.clusters import started
from tests.pipelines.engines.contract import OTHERS

if TYPE_CHECKING:
    from pipelines.engines.ray import RayEngine


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A cluster on this machine: a head and two nodes, one slot for a worker each."""
    pytest.importorskip("ray", reason="the Ray tests need the extra ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with started(nodes=3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def ray_engine(ray_cluster: Any) -> Iterator["RayEngine"]:
    """An engine on that cluster, for all tests of a module: its hosts hold all slots until the module ends."""
    from pipelines.engines.ray import RayEngine

    engine = RayEngine(None, ray_cluster.address)
    yield engine
    engine.close()


@pytest.fixture(params=OTHERS)
def other_engine(request: pytest.FixtureRequest) -> Options:
    """Each engine but the inline one, which its results are held against; Ray's is the cluster of three nodes."""
    options: Options = request.param
    if options.engine == EngineName.ray:
        return replace(options, address=request.getfixturevalue("ray_cluster").address)
    return options
