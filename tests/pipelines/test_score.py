"""Phase score and the clip rule: scores of the data, thresholds by value and by share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.select.cuts import histogram, places
from schemas.errors import InputError
from schemas.recipe import Recipe
from tests.pipelines.building import build, rows, table
from tests.pipelines.raw import scored


def recipe(path: Path, clip: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A recipe of one Parquet source with scores of its own."""
    source = {"id": "web", "path": str(path), "columns": "laion", "clip_score": "similarity", **more}
    return {"languages": ["en", "zh"], "sources": [source], "rules": {"clip": clip}}


def kept(out: Path) -> set[str]:
    """The members that are kept."""
    return {row["member"] for row in rows(out, "decisions") if row["decision"] == "kept"}


def test_a_least_score_keeps_what_reaches_it(tmp_path: Path) -> None:
    """Rows at the threshold stay, those below it are dropped as `clip` with their score."""
    path = scored(tmp_path / "in" / "a.parquet", [0.28, 0.27999, 0.5, 0.1])
    build(recipe(path, {"min": 0.28}), tmp_path / "out")
    assert kept(tmp_path / "out") == {"0", "2"}
    dropped = [row for row in rows(tmp_path / "out", "decisions") if row["decision"] == "dropped"]
    assert {row["reason"] for row in dropped} == {"clip"}
    assert {row["detail"] for row in dropped} == {"clip_score 0.27999", "clip_score 0.10000"}


def test_a_share_keeps_that_many_over_all_shards(tmp_path: Path) -> None:
    """keep: 0.3 keeps the 3 best of 10 rows, wherever they lie; ties go by key."""
    scored(tmp_path / "in" / "a.parquet", [0.5, 0.5, 0.5, 0.1])
    scores = [0.9, 0.5, 0.2, 0.5, 0.05, 0.01]
    captions = [f"Another picture of {n + 3} small boats on the wide river at dawn" for n in range(6)]
    scored(tmp_path / "in" / "b.parquet", scores, captions)
    given_recipe = recipe(tmp_path / "in", {"keep": 0.3})
    given_recipe["rules"] |= {"exact": False, "pixels": False, "phash": False}
    build(given_recipe, tmp_path / "out")
    found = {(row["shard"], row["member"]): row["clip_score"] for row in rows(tmp_path / "out", "scores")}
    stay = [
        found[row["shard"], row["member"]]
        for row in rows(tmp_path / "out", "decisions")
        if row["decision"] == "kept"
    ]
    assert sorted(stay) == [pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.9)]


def test_a_languages_threshold_stands_above_the_sources(tmp_path: Path) -> None:
    """Chinese rows go by their own threshold, English ones by the source's."""
    captions = [
        "A red flower in the garden of a house",
        "花园里有一朵红色的花和一棵树",
        "两只小猫在沙发上睡觉",
    ]
    path = scored(tmp_path / "in" / "a.parquet", [0.4, 0.4, 0.2], captions)
    build(recipe(path, {"min": 0.5, "languages": {"zh": {"min": 0.3}}}), tmp_path / "out")
    assert kept(tmp_path / "out") == {"1"}


def test_a_sources_block_replaces_the_recipes(tmp_path: Path) -> None:
    """The recipe's threshold of a language does not reach into a source that has a block of its own."""
    path = scored(tmp_path / "in" / "a.parquet", [0.4], ["花园里有一朵红色的花和一棵树"])
    given_recipe = recipe(
        path, {"min": 0.5, "languages": {"zh": {"min": 0.3}}}, rules={"clip": {"min": 0.45}}
    )
    build(given_recipe, tmp_path / "out")
    assert kept(tmp_path / "out") == set()


def test_only_rows_that_came_back_to_life_are_scored_again(tmp_path: Path) -> None:
    """After a rule before clip is loosened, phase score adds the rows that reach it now and keeps the others."""
    captions = ["tiny", "A red flower in the garden of a house"]
    path = scored(tmp_path / "in" / "a.parquet", [0.4, 0.6], captions)
    first = recipe(path, {"min": 0.1})
    results, _ = build(first, tmp_path / "out")
    assert results.scored["web", "a"]["scored"] == 1
    second = recipe(path, {"min": 0.1})
    second["rules"] |= {"caption_length": {"min_chars": 2}}
    results, heard = build(second, tmp_path / "out")
    assert heard.ran["measure"] == 0
    assert results.scored["web", "a"]["scored"] == 1
    assert [row["member"] for row in rows(tmp_path / "out", "scores")] == ["0", "1"]
    assert kept(tmp_path / "out") == {"0", "1"}


def test_the_score_goes_into_the_index(tmp_path: Path) -> None:
    """A kept pair's score is a column of its shard's index."""
    path = scored(tmp_path / "in" / "a.parquet", [0.4])
    build(recipe(path, {"min": 0.1}), tmp_path / "out")
    index = next((tmp_path / "out" / "shards").rglob("*.parquet"))
    import pyarrow.parquet as pq

    assert pq.read_table(index)["clip_score"].to_pylist() == [pytest.approx(0.4)]


def test_a_field_that_no_row_has_is_one_sentence(tmp_path: Path) -> None:
    """A misspelt score stops the run and says which field was looked for."""
    path = scored(tmp_path / "in" / "a.parquet", [None, None])
    with pytest.raises(InputError, match="no row of a has the score 'similarity'"):
        build(recipe(path, {"min": 0.1}), tmp_path / "out")


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=200), st.floats(0.01, 1))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_bin_of_the_cut_holds_the_row_at_the_share(scores: list[float], keep: float) -> None:
    """However scores fall, the place found leaves round(keep x n) rows: those of better bins, and `stay`."""
    values = np.array(scores, np.float32)
    made = Recipe.model_validate(
        {
            "sources": [{"id": "web", "path": "x", "clip_score": "s"}],
            "rules": {"clip": {"keep": keep}},
        }
    )
    names = np.array(["web\t"] * len(values), object)
    place = places(made, {("web", "a"): {"bins": histogram(names, values)}})["web\t"]
    bins = np.floor(values.astype(np.float64) * 1000).astype(np.int64)
    assert (bins > place.bin).sum() + place.stay == round(keep * len(values))
    assert 0 <= place.stay <= (bins == place.bin).sum()


def test_an_unscored_source_has_no_phase_score(tmp_path: Path) -> None:
    """Without a scorer and without scores of its own nothing is scored, and nothing needs torch."""
    path = scored(tmp_path / "in" / "a.parquet", [0.4])
    given_recipe = {"languages": ["en"], "sources": [{"id": "web", "path": str(path), "columns": "laion"}]}
    _, heard = build(given_recipe, tmp_path / "out")
    assert "score" not in heard.phases
    assert table(tmp_path / "out", "signals").num_rows == 1
