"""Rows with like embeddings: the same decisions on every engine."""

from pathlib import Path

import pytest

from pipelines.layout import Layout
from pipelines.runs import Options, engine_for
from tests.filters.test_semantic import families
from tests.pipelines.building import Heard
from tests.pipelines.phases.test_semantic import SHARDS, recipe, run, write

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def decided(folder: Path, options: Options) -> list[bytes]:
    """Every file of decisions on 1,200 rows in some 25 cells."""
    layout = Layout(str(folder))
    write(layout, families(200, 6, 0.1).tolist())
    with engine_for(options, Heard()) as engine:
        engine.open(layout)
        assert len(run(engine, layout, recipe(rows=50), 1200)) > 500
    return [Path(layout.path("decisions", *shard)).read_bytes() for shard in SHARDS]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "options",
    [
        Options("local", workers=2),
        pytest.param(Options("ray"), marks=pytest.mark.xdist_group("ray")),
        Options("beam", workers=2),
    ],
    ids=["local", "ray", "beam"],
)
def test_every_engine_decides_the_same(
    tmp_path: Path, options: Options, request: pytest.FixtureRequest
) -> None:
    """Decisions are equal to the byte."""
    if options.engine == "ray":
        options = Options("ray", address=request.getfixturevalue("ray_cluster").address)
    assert decided(tmp_path / "there", options) == decided(tmp_path / "here", Options("inline"))
