"""Clusters of captions and the cap: the same bytes on every engine."""

from pathlib import Path

import pytest

from pipelines.layout import Layout
from pipelines.runs import Options, engine_for
from tests.pipelines.building import Heard
from tests.pipelines.engines.contract import QUIET
from tests.pipelines.phases.test_captions import SHARDS, near_captions, recipe, run, scattered

pytestmark = QUIET


def decided(folder: Path, options: Options) -> dict[str, bytes]:
    """Every file of clusters and decisions of a thousand rows whose captions are nearly equal."""
    layout = Layout(str(folder))
    with engine_for(options, Heard()) as engine:
        engine.open(layout)
        found = run(engine, layout, scattered(near_captions(1000, 5), 6), 3, recipe(max=1, similarity=0.8))
    assert len(found["max_per_caption"]) > 300
    paths = [Path(layout.path(kind, *shard)) for kind in ("clusters", "decisions") for shard in SHARDS]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.timeout(900)
def test_every_engine_writes_the_same_bytes(tmp_path: Path, other_engine: Options) -> None:
    """Clusters and decisions are equal to the byte."""
    assert decided(tmp_path / "there", other_engine) == decided(tmp_path / "here", Options("inline"))
