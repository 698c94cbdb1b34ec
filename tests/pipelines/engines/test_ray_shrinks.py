"""A Ray cluster that shrinks to one node in the middle of a build."""

import threading
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

import vlcorpus
from pipelines.engines import EngineName
from pipelines.runs import Options
from tests.pipelines.crawls import demo, manifest
from tests.pipelines.engines.clusters import RAY, started

pytestmark = [*RAY, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.mark.parametrize("phase", ["signals", "clusters"])
def test_a_cluster_that_shrinks_to_one_node(tmp_path: Path, phase: str) -> None:
    """Two nodes of three are lost as soon as a phase leaves its first files: the head goes on, to the same bytes."""
    crawl = str(demo(tmp_path / "demo", 240, 10))
    vlcorpus.build(crawl, tmp_path / "inline", "inline", progress=False)
    out, ended, left = tmp_path / "ray", threading.Event(), list[int]()
    with started(nodes=3) as cluster:

        def shrink() -> None:
            """Takes two nodes away, one after the other, once the phase is at work."""
            while not ended.wait(0.05):
                if any((out / "work" / phase).rglob("*.parquet")):
                    for node in list(cluster.worker_nodes):
                        cluster.remove_node(node, allow_graceful=False)
                    left.append(len(cluster.list_all_nodes()))
                    return

        thread = threading.Thread(target=shrink)
        thread.start()
        try:
            options = Options(EngineName.ray, address=cluster.address)
            corpus = vlcorpus.build(crawl, out, options, progress=False)
        finally:
            ended.set()
            thread.join()
        assert left == [1], "the nodes were lost in the middle"
    assert corpus.verify() == []
    assert manifest(out) == manifest(tmp_path / "inline")
