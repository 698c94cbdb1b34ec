"""Scores and other columns that came with the data, through whole builds."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.recipe.load import load
from schemas.errors import InputError, RecipeError
from schemas.manifest import load as load_manifest
from tests.pipelines import raw
from tests.pipelines.building import build, rows

CLIP = {"clip": {"min": 0.28}}


def source(folder: Path, values: list[dict[str, Any]], form: str = "jsonl") -> dict[str, Any]:
    """A folder of images with a table that has these columns beside file and caption."""
    folder.mkdir(parents=True)
    records = []
    for number, value in enumerate(values):
        (folder / f"{number}.jpg").write_bytes(raw.picture(number))
        records.append({"file": f"{number}.jpg", "caption": raw.caption(number), **value})
    if form == "csv":
        with (folder / "data.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    else:
        (folder / "data.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    names = [name for name in records[0] if name not in ("file", "caption")]
    return {"id": "s", "path": str(folder), "columns": {"extra": names}}


def scored(folder: Path, scores: list[Any], form: str = "jsonl") -> dict[str, Any]:
    return source(folder, [{"similarity": score} for score in scores], form) | {"clip_score": "similarity"}


def reasons(out: Path) -> list[str | None]:
    """The reason of each row, in the order of the rows; None where it is kept."""
    found = sorted(rows(out, "decisions"), key=lambda row: int(row["member"]))
    return [row["reason"] for row in found]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_score_in_text_is_a_score(tmp_path: Path, form: str) -> None:
    """In JSON strings and in CSV, where all is text, scores are judged as the numbers that they are."""
    made = scored(tmp_path / "in", ["0.1", "0.28", " 0.5 ", "2.9e-1", "-1"], form)
    build({"sources": [made], "rules": CLIP}, tmp_path / "out")
    assert reasons(tmp_path / "out") == ["clip", None, None, None, "clip"]


def test_a_row_without_a_score_is_unscored(tmp_path: Path) -> None:
    """Null, NaN, words and lists are no scores: the rows are a reason of their own, in funnel and card too."""
    made = scored(tmp_path / "in", [0.5, None, float("nan"), "high", [0.9], 0.1])
    build({"sources": [made], "rules": CLIP}, tmp_path / "out")
    assert reasons(tmp_path / "out") == [None, "unscored", "unscored", "unscored", "unscored", "clip"]
    details = {row["detail"] for row in rows(tmp_path / "out", "decisions") if row["reason"] == "unscored"}
    assert details == {"no number in similarity"}
    manifest = load_manifest((tmp_path / "out" / "manifest.json").read_bytes())
    assert [(one.rule, one.dropped) for one in manifest.funnel["s"].rules] == [("unscored", 4), ("clip", 1)]
    assert "| unscored |" in (tmp_path / "out" / "README.md").read_text()


def test_rows_without_a_score_pass_where_the_recipe_says_so(tmp_path: Path) -> None:
    """`unscored: keep` lets them through, and a share is of the rows that have a score."""
    made = scored(tmp_path / "in", [0.5, None, None, 0.4, 0.1, 0.2])
    build({"sources": [made], "rules": {"clip": {"keep": 0.5, "unscored": "keep"}}}, tmp_path / "out")
    assert reasons(tmp_path / "out") == [None, None, None, None, "clip", "clip"]


def test_a_shard_without_scores_is_no_reason_to_stop_where_others_have_them(tmp_path: Path) -> None:
    """One file of the source has nulls only: its rows are unscored, the others are judged."""
    raw.scored(tmp_path / "in" / "a.parquet", [0.5, 0.1])
    said = [f"Another picture of {n + 3} small boats on the wide river at dawn" for n in range(2)]
    raw.scored(tmp_path / "in" / "b.parquet", [None, None], said)
    made = {"id": "s", "path": str(tmp_path / "in"), "columns": "laion", "clip_score": "similarity"}
    off = {"exact": False, "pixels": False, "phash": False}
    build({"sources": [made], "rules": CLIP | off}, tmp_path / "out")
    found = [(row["shard"], row["reason"]) for row in rows(tmp_path / "out", "decisions")]
    assert found == [("a", None), ("a", "clip"), ("b", "unscored"), ("b", "unscored")]


@pytest.mark.parametrize("value", [28.5, "31", -1.1, 1.001])
def test_a_score_that_is_no_cosine_stops(tmp_path: Path, value: float | str) -> None:
    """Percentages would all pass: the sentence names row and value, and says what to do."""
    made = scored(tmp_path / "in", [0.3, value])
    with pytest.raises(InputError, match=r"similarity of data/1 is .* is it a percentage\?"):
        build({"sources": [made], "rules": CLIP}, tmp_path / "out")


@pytest.mark.parametrize("values", [[None, None], ["high", "low"], [{"a": 1}, {"a": 2}]])
def test_scores_of_which_none_is_a_number_stop(tmp_path: Path, values: list[Any]) -> None:
    """A column of nulls, of words or of structs is not taken for scores that all rows lack."""
    made = scored(tmp_path / "in", values)
    with pytest.raises(InputError, match="no row of data has the score 'similarity'"):
        build({"sources": [made], "rules": CLIP}, tmp_path / "out")


def test_any_column_of_the_data_can_be_a_rule(tmp_path: Path) -> None:
    """Ranges, lists and nulls of several columns; each is a reason of its own with its value."""
    values = [
        {"punsafe": 0.1, "aesthetic": "5.5", "style": "photo"},
        {"punsafe": 0.9, "aesthetic": "5.5", "style": "advert"},
        {"punsafe": 0.1, "aesthetic": "4.4", "style": "photo"},
        {"punsafe": None, "aesthetic": "6", "style": None},
    ]
    limits = {
        "punsafe": {"max": 0.5},
        "aesthetic": {"min": 4.5},
        "style": {"not_in": ["advert"], "missing": "keep"},
    }
    build({"sources": [source(tmp_path / "in", values)], "rules": {"columns": limits}}, tmp_path / "out")
    found = sorted(rows(tmp_path / "out", "decisions"), key=lambda row: row["member"])
    assert [(row["failed"], row["detail"]) for row in found] == [
        ([], None),
        (["columns.punsafe", "columns.style"], "punsafe 0.9"),
        (["columns.aesthetic"], 'aesthetic "4.4"'),
        (["columns.punsafe"], "punsafe null"),
    ]
    card = (tmp_path / "out" / "README.md").read_text()
    assert r"| columns.punsafe | ours | max 0.5, missing drop | 2 |" in card.replace("\\", "")


def test_a_changed_limit_measures_nothing_again(tmp_path: Path) -> None:
    """Rules over columns decide over signals that are there."""
    recipe = {"sources": [source(tmp_path / "in", [{"x": 1}, {"x": 2}])]}
    build(recipe | {"rules": {"columns": {"x": {"max": 1}}}}, tmp_path / "out")
    _, heard = build(recipe | {"rules": {"columns": {"x": {"max": 2}}}}, tmp_path / "out")
    assert heard.ran["measure"] == heard.ran["dedup"] == 0
    assert reasons(tmp_path / "out") == [None, None]


def test_a_column_that_no_row_has_stops(tmp_path: Path) -> None:
    """It would drop or pass every row in silence; the sentence names source and column."""
    made = source(tmp_path / "in", [{"x": None}, {"x": None}])
    with pytest.raises(InputError, match="source s: no row has a value in the column 'x'"):
        build({"sources": [made], "rules": {"columns": {"x": {"max": 1}}}}, tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"rules": {"columns": {"punsafe": {"max": 0.5}}}}, "sources.0.rules.columns.punsafe"),
        ({"clip_score": "punsafe"}, "sources.0.clip_score"),
    ],
)
def test_a_column_that_a_source_does_not_carry_is_refused_before_any_work(
    more: dict[str, Any], where: str
) -> None:
    """Adding it later measures again, so the recipe says at once which list it is missing in."""
    made = {"id": "s", "path": "in", "columns": {"extra": ["x"]}, **more}
    with pytest.raises(RecipeError, match=r"does not carry .*extra: \[x, punsafe\]") as caught:
        load({"sources": [made]})
    assert where in str(caught.value)


def test_a_source_switches_a_column_of_the_recipe_off(tmp_path: Path) -> None:
    """A second source without the column is no mistake where it says so."""
    one = source(tmp_path / "one", [{"x": 1}, {"x": 2}])
    two = {"id": "t", "path": str(raw.shard(tmp_path / "two" / "0.tar", range(5, 7)))}
    recipe = {"sources": [one, two], "rules": {"columns": {"x": {"max": 1}}}}
    with pytest.raises(RecipeError, match="source 't' does not carry"):
        load(recipe)
    two["rules"] = {"columns": {"x": False}}
    build(load(recipe).to_json(), tmp_path / "out")
    assert [row["reason"] for row in rows(tmp_path / "out", "decisions")] == [None, "columns.x", None, None]


@pytest.mark.parametrize("case", ["g_strdir", "g_csvdir", "g_nan", "g_pct"])
def test_real_cases(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Published situations: strings and CSV are judged, nulls are unscored, percentages stop."""
    folder = test_data / "cases" / "keep"
    if not folder.is_dir():
        pytest.skip("the folder of real data holds no cases")
    monkeypatch.chdir(folder)
    recipe = load(folder / f"{case}.yaml", {"max_quarantine": 1.0}).to_json()
    if case == "g_pct":
        with pytest.raises(InputError, match="is it a percentage"):
            build(recipe, tmp_path / "out")
        return
    build(recipe, tmp_path / "out")
    found = [row["reason"] for row in rows(tmp_path / "out", "decisions")]
    expected = {"clip": 10, "unscored": 10} if case == "g_nan" else {"clip": 9, None: 11}
    assert {name: found.count(name) for name in set(found)} == expected


@pytest.mark.parametrize("key", ["zh", "zh-CN", "zh_TW", "yue", "zh-Hant"])
def test_a_threshold_holds_however_its_language_is_written(tmp_path: Path, key: str) -> None:
    """Chinese rows go by the key for Chinese, whichever region or script it names."""
    said = ["A red flower in the garden of a house", "花园里有一朵红色的花和一棵树", "两只小猫在沙发上睡觉"]
    path = raw.scored(tmp_path / "in" / "a.parquet", [0.4, 0.4, 0.2], said)
    made = {"id": "s", "path": str(path), "columns": "laion", "clip_score": "similarity"}
    clip = {"min": 0.5, "languages": {key: {"min": 0.3}}}
    recipe = load({"sources": [made], "languages": ["en", "zh"], "rules": {"clip": clip}})
    build(recipe.to_json(), tmp_path / "out")
    assert reasons(tmp_path / "out") == ["clip", None, "clip"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"rules": {"clip": {"min": 0.1, "languages": {"fr": {"min": 0.3}}}}},
            "a threshold for 'fr', but no source",
        ),
        (
            {"rules": {"clip": {"min": 0.1, "languages": {"zh": {"min": 0.3}, "zh-CN": {"min": 0.2}}}}},
            "'zh' and 'zh-CN' are one language here",
        ),
        ({"clip": {"scorers": {"fr": {}, "default": {}}}}, "a scorer for 'fr', but no source keeps"),
        (
            {"clip": {"scorers": {"yue": {}, "zh-Hant": {}, "default": {}}}},
            "'yue' and 'zh-Hant' are one language",
        ),
    ],
)
def test_a_key_that_can_match_nothing_is_refused(more: dict[str, Any], sentence: str) -> None:
    """A threshold or a scorer that no row ever meets is a mistake in the recipe."""
    made = {"id": "s", "path": "in", "columns": "laion", "clip_score": "similarity"}
    with pytest.raises(RecipeError, match=sentence):
        load({"sources": [made], "languages": ["en", "zh"], **more})


def test_a_sources_own_languages_decide_which_thresholds_can_match(tmp_path: Path) -> None:
    """A source that keeps French may have a threshold for it; one that keeps English may not."""
    own = {"rules": {"clip": {"min": 0.1, "languages": {"fr": {"min": 0.3}}}}}
    made = {"id": "s", "path": "in", "columns": "laion", "clip_score": "similarity", **own}
    assert load({"sources": [{**made, "languages": ["fr"]}], "languages": ["en"]})
    with pytest.raises(RecipeError, match=r"sources\.0\.rules\.clip\.languages\.fr: a threshold for 'fr'"):
        load({"sources": [made], "languages": ["en"]})
