"""Rows with like embeddings: the same decisions on every engine."""

from pathlib import Path

import pytest

from pipelines.layout import Layout
from pipelines.runs import Options, engine_for
from tests.filters.test_semantic import families
from tests.pipelines.building import Heard
from tests.pipelines.engines.contract import QUIET
from tests.pipelines.phases.test_semantic import SHARDS, recipe, run, write

pytestmark = QUIET


def decided(folder: Path, options: Options) -> list[bytes]:
    """Every file of decisions on 1,200 rows in some 25 cells."""
    layout = Layout(str(folder))
    write(layout, families(200, 6, 0.1).tolist())
    with engine_for(options, Heard()) as engine:
        engine.open(layout)
        assert len(run(engine, layout, recipe(rows=50), 1200)) > 500
    return [Path(layout.path("decisions", *shard)).read_bytes() for shard in SHARDS]


@pytest.mark.timeout(900)
def test_every_engine_decides_the_same(tmp_path: Path, other_engine: Options) -> None:
    """Decisions are equal to the byte."""
    assert decided(tmp_path / "there", other_engine) == decided(tmp_path / "here", Options("inline"))
