"""Clusters of captions and the cap: the same bytes on every engine."""

from pathlib import Path

import pytest

from pipelines.layout import Layout
from pipelines.runs import Options, engine_for
from tests.pipelines.building import Heard
from tests.pipelines.phases.test_captions import SHARDS, near_captions, recipe, run, scattered

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


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
@pytest.mark.parametrize(
    "options",
    [
        Options("local", workers=2),
        pytest.param(Options("ray"), marks=pytest.mark.xdist_group("ray")),
        Options("beam", workers=2),
    ],
    ids=["local", "ray", "beam"],
)
def test_every_engine_writes_the_same_bytes(
    tmp_path: Path, options: Options, request: pytest.FixtureRequest
) -> None:
    """Clusters and decisions are equal to the byte."""
    if options.engine == "ray":
        options = Options("ray", address=request.getfixturevalue("ray_cluster").address)
    assert decided(tmp_path / "there", options) == decided(tmp_path / "here", Options("inline"))
