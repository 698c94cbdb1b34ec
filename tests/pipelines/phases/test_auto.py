"""`language: {min_score: auto}`: thresholds from the run's own scores."""

import json
import statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from filters.scripts import SCRIPTS_OF
from pipelines.audit.verify import verify
from pipelines.phases.auto import BINS, HIGHEST, LOWEST, RARE, added, score_counts, thresholds
from tests.pipelines.building import build, rows
from tests.pipelines.crawls import build_inline, run_inline
from tests.pipelines.raw import shard

SCORED = st.lists(
    st.tuples(st.sampled_from((None, "und", "en", "fr", "zh")), st.floats(0, 1, width=32)), max_size=80
)


def _signals(found: list[tuple[str | None, float]]) -> pa.Table:
    languages = pa.array([language for language, _ in found], pa.string())
    scores = [score if language else None for language, score in found]
    return pa.table({"language": languages, "language_score": pa.array(scores, pa.float32())})


@given(SCORED, st.data())
def test_a_threshold_is_the_median_less_the_deviation_within_bounds(
    found: list[tuple[str | None, float]], data: st.DataObject
) -> None:
    """As a plain reading of the scores says, however the rows lie in shards and in whatever order these come."""
    cut = data.draw(st.integers(0, len(found)))
    parts = [score_counts(_signals(part)) for part in (found[cut:], found[:cut])]
    got = thresholds(added(parts))
    assert got == thresholds(score_counts(_signals(found)))
    for language, least in got.items():
        bins = sorted(int(score * BINS) for own, score in found if own == language)
        wanted = (statistics.median_low(bins) - statistics.pstdev(bins)) / BINS
        assert abs(least - max(LOWEST, min(HIGHEST, wanted))) <= 0.0051


def test_undetermined_captions_have_no_threshold_and_rare_languages_the_highest() -> None:
    """Below a share of RARE a label is more likely a name than a text."""
    many = int(2 / RARE)
    counts = score_counts(_signals([("en", 0.8)] * many + [("da", 0.4), ("und", 0.2), (None, 0.0)]))
    assert thresholds(counts) == {"da": HIGHEST, "en": 0.8}


def _recipe(folder: Path, **rule: Any) -> dict[str, Any]:
    captions = {
        number: f"der rote Hund Nummer {number} steht im Garten neben dem Haus" for number in range(4)
    }
    captions |= {4: "Bäckerei", 5: "schönes Foto, nice"}
    for number in range(3):
        shard(folder / f"{number}.tar", range(4 * number, 4 * number + 4), captions)
    source = {"id": "web", "kind": "webdataset", "path": str(folder)}
    return {"languages": ["en"], "sources": [source], "rules": {"language": rule}}


def test_a_build_judges_by_the_numbers_and_the_manifest_has_them(tmp_path: Path) -> None:
    """The same corpus as with these numbers written into the recipe; and it verifies."""
    auto, given = tmp_path / "auto", tmp_path / "given"
    build(_recipe(tmp_path / "in", min_score="auto", undetermined="drop"), auto)
    numbers = json.loads((auto / "manifest.json").read_text())["thresholds"]["web"]["language"]["min_score"]
    signals = rows(auto, "signals")
    assert set(numbers) == {row["language"] for row in signals} - {"und"} <= set(SCRIPTS_OF)
    build(_recipe(tmp_path / "in", min_score=numbers, undetermined="drop"), given)
    assert rows(auto, "decisions") == rows(given, "decisions")
    assert not list(verify(str(auto), work=True))
    dropped = {row["member"] for row in rows(auto, "decisions") if "language" in row["failed"]}
    low = {
        row["member"]
        for row in signals
        if row["language"] != "en" or row["language_score"] < numbers[row["language"]]
    }
    assert dropped == low


def test_another_threshold_than_auto_gave_is_no_new_measurement(tmp_path: Path) -> None:
    """The counts lie in the receipts of measure whatever the recipe says."""
    recipe = _recipe(tmp_path / "in")
    build(recipe, tmp_path / "out")
    recipe["rules"] = {"language": {"min_score": "auto"}}
    _, heard = build(recipe, tmp_path / "out")
    assert heard.ran["measure"] == 0
    assert heard.ran["select"] > 0


def test_rows_are_removed_where_thresholds_are_auto(tmp_path: Path) -> None:
    """A removal judges by the run's numbers too, and leaves what a build with the list leaves."""
    recipe, listed = tmp_path / "recipe.yaml", tmp_path / "listed.txt"
    recipe.write_text(json.dumps(_recipe(tmp_path / "in", min_score="auto")))
    build_inline(recipe, "--out", tmp_path / "one")
    key = rows(tmp_path / "one", "decisions")[0]["key"]
    listed.write_text(f"key\n{key}\n")
    assert (
        run_inline("remove", tmp_path / "one", recipe, "--keys", listed, "--engine", "inline").returncode == 0
    )
    build_inline(recipe, "--out", tmp_path / "two", "--removed", listed)
    one, two = ((tmp_path / name / "manifest.json").read_bytes() for name in ("one", "two"))
    assert one == two
