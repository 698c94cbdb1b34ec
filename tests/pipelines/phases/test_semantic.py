"""Rows with like embeddings: who loses, against stars of all with all, and what is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.semantic import stars, units
from filters.table import SIGNALS
from pipelines.engines.step import Engine
from pipelines.layout import Layout
from pipelines.phases.select.driver import SelectPlan, select
from pipelines.recipe.model import Recipe
from schemas.errors import InputError
from schemas.row import CLUSTERS, SCORES
from tests.filters.test_semantic import families
from tests.pipelines.phases.test_select import Engine as InProcess

SHARDS = (("a", "0"), ("a", "1"), ("b", "0"))
SCORER = "a scorer"


def recipe(clip: dict[str, Any] | None = None, **rule: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "sources": [{"id": "a", "path": "a"}, {"id": "b", "path": "b"}],
            "clip": {
                "embeddings": True,
                "allow_embedded": True,
                "scorers": {"default": {"model": "embedded"}},
            }
            if clip is None
            else clip,
            "rules": {"semantic": {"similarity": 0.9, **rule}},
        }
    )


def write(layout: Layout, vectors: Sequence[Any], sides: Sequence[int] | None = None) -> None:
    """Signals, clusters and scores of rows that pass every rule; the member is the number of the row."""
    for number, (source, shard) in enumerate(SHARDS):
        rows = range(number, len(vectors), 3)
        records = [
            {
                "source": source,
                "shard": shard,
                "member": str(row),
                "key": f"{(7919 * row) % 1000003:032x}",
                "caption": f"caption {row}",
                "caption_chars": 10,
                "width": sides[row] if sides else 300,
                "height": 300,
                "clip_score": 0.3,
                "scorer": SCORER,
                "truncated": False,
                "image_embedding": vectors[row],
            }
            for row in rows
        ]
        scores = pa.schema([*SCORES, pa.field("image_embedding", pa.list_(pa.float16()))])
        for kind, schema in (("signals", SIGNALS), ("scores", scores), ("clusters", CLUSTERS)):
            path = Path(layout.path(kind, source, shard))
            path.parent.mkdir(parents=True, exist_ok=True)
            held = [] if kind == "clusters" else records
            pq.write_table(pa.Table.from_pylist(held, schema), path)


def run(
    engine: Engine, layout: Layout, one: Recipe, rows: int, scorers: Sequence[str] = (SCORER,)
) -> dict[int, str]:
    """The detail of each row that goes, by its number."""
    scored = {name: {"reached": rows // 3, "scorers": [*scorers], "bins": {}} for name in SHARDS}
    select(engine, SelectPlan(one, layout, SHARDS, 2, scored=scored, rows=dict.fromkeys(SHARDS, rows)))
    tables = [pq.ParquetFile(layout.path("decisions", *shard)).read() for shard in SHARDS]
    decisions = [row for table in tables for row in table.to_pylist()]
    assert {row["reason"] for row in decisions} <= {None, "semantic"}
    return {int(row["member"]): row["detail"] for row in decisions if row["reason"]}


def expected(vectors: npt.NDArray[np.float16], similarity: float) -> set[int]:
    """Who loses by a comparison of all with all: by source, then by key."""
    order = sorted(range(len(vectors)), key=lambda row: (row % 3 == 2, (7919 * row) % 1000003))
    best = stars(units(vectors[order]), similarity)
    return {order[at] for at in range(len(order)) if best[at] != at}


def test_rows_with_like_embeddings_lose_to_the_better(tmp_path: Path) -> None:
    """In one cell exactly those of a comparison of all with all; the detail names who is kept."""
    vectors = families(100, 6, 0.12)
    layout = Layout(str(tmp_path))
    write(layout, vectors.tolist())
    gone = run(InProcess(), layout, recipe(), len(vectors))
    assert 100 < len(gone) < 600
    assert set(gone) == expected(vectors, 0.9)
    assert all(text.startswith("like ") and text.endswith(", which is kept") for text in gone.values())
    assert not list(tmp_path.rglob("*exchange/*/*"))


def test_cells_lose_few_pairs(tmp_path: Path) -> None:
    """With dozens of cells 99 of 100 losers are found, and nearly no row goes that stays otherwise; no row names one
    that the second split drops."""
    vectors = families(300, 6, 0.1)
    layout = Layout(str(tmp_path))
    write(layout, vectors.tolist())
    gone = run(InProcess(5), layout, recipe(rows=50), len(vectors))
    truth = expected(vectors, 0.9)
    assert len(gone.keys() & truth) >= 0.99 * len(truth)
    assert len(gone.keys() & truth) >= 0.99 * len(gone)
    lost = {f"like {(7919 * row) % 1000003:032x}, which is kept" for row in gone}
    assert not lost & {*gone.values()}


@pytest.mark.parametrize("rows", [1000, 50])
def test_a_share_of_each_cell_stays(tmp_path: Path, rows: int) -> None:
    """Whatever the threshold leaves, no more than the share stays, and those most like others go first."""
    vectors = families(100, 6, 0.12)
    layout = Layout(str(tmp_path))
    write(layout, vectors.tolist())
    gone = set(run(InProcess(), layout, recipe(similarity=1.0, keep=0.8, rows=rows), len(vectors)))
    fewer = set(run(InProcess(), layout, recipe(similarity=1.0, keep=0.3, rows=rows), len(vectors)))
    assert 0.8 * 120 <= len(gone) <= 1.2 * 120
    assert 0.8 * 420 <= len(fewer) <= 1.2 * 420
    assert gone <= fewer
    if rows == 1000:
        assert (len(gone), len(fewer)) == (120, 420)
        assert set(run(InProcess(), layout, recipe(keep=1.0), len(vectors))) == expected(vectors, 0.9)


def test_the_larger_image_stays(tmp_path: Path) -> None:
    """Of two alike the keeper is chosen as among other duplicates."""
    layout = Layout(str(tmp_path))
    write(layout, [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.99, 0.01]], [300, 300, 900, 400])
    assert set(run(InProcess(), layout, recipe(), 4)) == {0, 2}


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ([float("nan"), 1.0], r"the row 4 has no direction \(NaN"),
        ([0.0, 0.0], "the row 4 has no direction"),
        ([1.0, 0.0, 0.0], "the row 4 has 3 numbers, that of the first 2"),
        (None, "the row 4 has 0 numbers"),
    ],
    ids=["NaN", "zeros", "two sizes", "missing"],
)
def test_embeddings_that_cannot_be_compared(tmp_path: Path, bad: Any, sentence: str) -> None:
    """One sentence names the file and the row."""
    layout = Layout(str(tmp_path))
    write(layout, [[1.0, 0.0]] * 4 + [bad] + [[0.0, 1.0]] * 4)
    with pytest.raises(InputError, match=sentence):
        run(InProcess(), layout, recipe(), 9)


def test_sizes_that_differ_between_shards(tmp_path: Path) -> None:
    """Whole shards of another size are refused too."""
    layout = Layout(str(tmp_path))
    write(layout, [[1.0, 0.0, 0.5] if row % 3 == 1 else [1.0, 0.0] for row in range(9)])
    with pytest.raises(InputError, match="embeddings of 2 and of 3 numbers cannot be compared"):
        run(InProcess(), layout, recipe(), 9)


def test_scores_without_embeddings(tmp_path: Path) -> None:
    """The sentence says what to set."""
    layout = Layout(str(tmp_path))
    write(layout, [[1.0, 0.0]] * 9)
    path = layout.path("scores", *SHARDS[0])
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["image_embedding"]), path)
    with pytest.raises(InputError, match=r"holds no embeddings: set clip\.embeddings"):
        run(InProcess(), layout, recipe(), 9)


def test_embeddings_of_two_scorers(tmp_path: Path) -> None:
    """They are refused before anything is compared."""
    layout = Layout(str(tmp_path))
    write(layout, [[1.0, 0.0]] * 9)
    with pytest.raises(InputError, match=r"of 2 scorers \(one, two\), which cannot be compared"):
        run(InProcess(), layout, recipe(), 9, ["two", "one"])


def test_a_recipe_without_embeddings() -> None:
    """The rule has nothing to go by."""
    with pytest.raises(ValueError, match="the semantic rule of source 'a' has nothing to go by"):
        recipe({"allow_embedded": True, "scorers": {"default": {"model": "embedded"}}})
