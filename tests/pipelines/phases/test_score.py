"""Phase score and the clip rule: scores of the data, thresholds by value and by share."""

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.phases.select.cuts import histogram, places, staying
from pipelines.recipe.model import Recipe
from schemas.errors import InputError
from tests.filters.clips import write_model
from tests.pipelines.building import build, rows, table
from tests.pipelines.raw import caption, scored, shard


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
    assert results["score"]["web", "a"]["scored"] == 1
    second = recipe(path, {"min": 0.1})
    second["rules"] |= {"caption_length": {"min_chars": 2}}
    results, heard = build(second, tmp_path / "out")
    assert heard.ran["measure"] == 0
    assert results["score"]["web", "a"]["scored"] == 1
    assert [row["member"] for row in rows(tmp_path / "out", "scores")] == ["0", "1"]
    assert kept(tmp_path / "out") == {"0", "1"}


def test_the_score_goes_into_the_index(tmp_path: Path) -> None:
    """A kept pair's score is a column of its shard's index."""
    path = scored(tmp_path / "in" / "a.parquet", [0.4])
    build(recipe(path, {"min": 0.1}), tmp_path / "out")
    index = next((tmp_path / "out" / "shards").rglob("*.parquet"))
    assert pq.read_table(index)["clip_score"].to_pylist() == [pytest.approx(0.4)]


def test_a_field_that_no_row_has_is_one_sentence(tmp_path: Path) -> None:
    """A misspelt score stops the run and says which field was looked for."""
    path = scored(tmp_path / "in" / "a.parquet", [None, None])
    with pytest.raises(InputError, match="no row of a has the score 'similarity'"):
        build(recipe(path, {"min": 0.1}), tmp_path / "out")


def share_of(keep: float, rows: int) -> int:
    """How many rows a share keeps, by decimal arithmetic: halves up, one at least."""
    exact = (Decimal(repr(keep)) * rows).quantize(Decimal(1), ROUND_HALF_UP)
    return max(1, int(exact))


@pytest.mark.parametrize(
    ("keep", "rows", "stay"),
    [(0.5, 1, 1), (0.5, 3, 2), (0.5, 5, 3), (0.01, 7, 1), (0.145, 100, 15), (1, 7, 7), (0.28, 50, 14)],
)
def test_a_share_of_few_rows(keep: float, rows: int, stay: int) -> None:
    """Half a row counts as one, also where the share is no binary number, and some row always stays."""
    assert staying(keep, rows) == stay == share_of(keep, rows)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=200), st.floats(0.01, 1))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_bin_of_the_cut_holds_the_row_at_the_share(scores: list[float], keep: float) -> None:
    """However scores fall, the place found leaves keep x n rows, halves up, but one at least: better bins, `stay`."""
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
    assert (bins > place.bin).sum() + place.stay == share_of(keep, len(values))
    assert 0 <= place.stay <= (bins == place.bin).sum()


def test_an_unscored_source_has_no_phase_score(tmp_path: Path) -> None:
    """Without a scorer and without scores of its own nothing is scored, and nothing needs torch."""
    path = scored(tmp_path / "in" / "a.parquet", [0.4])
    given_recipe = {"languages": ["en"], "sources": [{"id": "web", "path": str(path), "columns": "laion"}]}
    _, heard = build(given_recipe, tmp_path / "out")
    assert "score" not in heard.phases
    assert table(tmp_path / "out", "signals").num_rows == 1


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ("coyo", "clip_similarity_vitb32"),
        ("datacomp", "clip_b32_similarity_score"),
        ("laion", "similarity"),
    ],
)
def test_metadata_alone_goes_through_the_clip_rule(columns: str, name: str, tmp_path: Path) -> None:
    """Metadata without pictures (kind: text), as COYO, DataComp and LAION publish it, keeps its best share."""
    captions = {"coyo": "text", "datacomp": "text", "laion": "TEXT"}
    records = [{captions[columns]: caption(n), "url": f"https://x.org/{n}", name: n / 20} for n in range(20)]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "in" / "part.parquet")
    source = {
        "id": "web",
        "path": str(tmp_path / "in"),
        "kind": "text",
        "columns": columns,
        "clip_score": name,
    }
    build({"languages": ["en"], "sources": [source], "rules": {"clip": {"keep": 0.14}}}, tmp_path / "out")
    assert kept(tmp_path / "out") == {"17", "18", "19"}
    found = rows(tmp_path / "out", "scores")
    assert {row["scorer"] for row in found} == {f"given:{name}"}
    assert [row["clip_score"] for row in found] == pytest.approx([n / 20 for n in range(20)])


def embedded(tmp_path: Path, **clip: Any) -> dict[str, Any]:
    """A recipe of five pairs, two of them alike, in two languages that one scorer judges."""
    said = {1: caption(0), 3: "花园里有一朵红色的花和一棵树"}
    path = shard(tmp_path / "in" / "a.tar", range(5), said)
    shard(tmp_path / "in" / "b.tar", range(1), said)
    settings = {"scorers": {"default": {"model": "embedded"}}, **clip}
    return {
        "languages": ["en", "zh"],
        "sources": [{"id": "web", "path": str(path.parent)}],
        "clip": settings,
        "rules": {"clip": {"min": -1}},
    }


def test_embeddings_are_kept_beside_the_scores(tmp_path: Path) -> None:
    """With embeddings: true both vectors stand in work/scores as float16, and their cosine is the score."""
    build(embedded(tmp_path, embeddings=True), tmp_path / "out")
    found = table(tmp_path / "out", "scores")
    assert found.schema.field("image_embedding").type == pa.list_(pa.float16())
    images, texts = (
        np.array(found[f"{name}_embedding"].to_pylist(), np.float32) for name in ("image", "text")
    )
    assert len(images) == 6
    assert np.allclose((images * texts).sum(1), found["clip_score"].to_numpy(), atol=2e-3)
    build(embedded(tmp_path), tmp_path / "plain")
    assert table(tmp_path / "plain", "scores")["clip_score"].equals(found["clip_score"])
    assert "image_embedding" not in table(tmp_path / "plain", "scores").schema.names


def test_how_scores_are_made_does_not_move_them(tmp_path: Path) -> None:
    """Decode threads, and languages with equal scorers of their own, change no score."""
    build(embedded(tmp_path), tmp_path / "one")
    alike = {"scorers": {code: {"model": "embedded"} for code in ("en", "zh")}, "decode_threads": 3}
    build(embedded(tmp_path, **alike), tmp_path / "two")
    assert table(tmp_path / "one", "scores").equals(table(tmp_path / "two", "scores"))


def test_other_weights_at_the_same_place_score_again(tmp_path: Path) -> None:
    """Scores hold while the weights do, wherever they lie; weights that changed in place score every row anew."""
    model = write_model(tmp_path / "model")
    wanted = embedded(tmp_path, scorers={"default": {"model": f"local-dir:{model}"}})
    results, _ = build(wanted, tmp_path / "out")
    assert sum(receipt["scored"] for receipt in results["score"].values()) == 6
    before = table(tmp_path / "out", "scores")
    moved = model.rename(tmp_path / "moved")
    wanted["clip"]["scorers"]["default"]["model"] = f"local-dir:{moved}"
    _, heard = build(wanted, tmp_path / "out")
    assert heard.ran["score"] == 0
    write_model(moved, seed=1)
    results, heard = build(wanted, tmp_path / "out")
    assert heard.ran["measure"] == 0
    assert sum(receipt["scored"] for receipt in results["score"].values()) == 6
    after = table(tmp_path / "out", "scores")
    assert set(before["scorer"].to_pylist()).isdisjoint(after["scorer"].to_pylist())
    assert not before["clip_score"].equals(after["clip_score"])


def test_the_digest_of_a_recipe_is_not_of_the_scorers_place() -> None:
    """Where weights lie, and how many threads decode, is no part of what determines the data."""

    def digest(**clip: Any) -> str:
        source = {"id": "web", "path": "x"}
        return Recipe.model_validate({"sources": [source], "clip": clip}).digest()

    here, there = ({"default": {"model": "ViT-B-32", "pretrained": path}} for path in ("a/w.pt", "b/w.pt"))
    assert digest(scorers=here) == digest(scorers=there, decode_threads=4)
    assert digest(scorers=here) != digest(scorers={"default": {**here["default"], "precision": "bf16"}})
