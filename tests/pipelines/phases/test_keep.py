"""`keep: f` of the clip rule: that share stays, to within a row (on every engine: engines/test_same_bytes.py)."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.building import build, rows
from tests.pipelines.raw import OFF, tied


def recipe(folder: Path, clip: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Source `one` has a block of its own, `two` goes by the recipe's."""
    one = tied(folder, "one", (17, 6), 0) | {"rules": {"clip": own}}
    two = tied(folder, "two", (13, 1, 9), 100)
    return {"languages": ["en", "zh"], "sources": [one, two], "rules": {"clip": clip, **OFF}}


def group(clip: Mapping[str, Mapping[str, Any]], row: Mapping[str, Any]) -> tuple[str, str]:
    """The rows that share a threshold with this one: a source's language, or the rest of the source."""
    own = clip[row["source"]].get("languages", {})
    return row["source"], row["language"] if row["language"] in own else ""


def expected(out: Path, clip: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """Who stays, by sorting each group whole: the better score, then the smaller key."""
    scores = {place(row): row["clip_score"] for row in rows(out, "scores")}
    measured = rows(out, "signals")
    assert len(scores) == len(measured)
    stay: set[tuple[str, str, str]] = set()
    for name in {group(clip, row) for row in measured}:
        members = [row for row in measured if group(clip, row) == name]
        block = clip[name[0]]
        limit = block["languages"][name[1]] if name[1] else block
        order = sorted(members, key=lambda row: (-scores[place(row)], row["key"]))
        if "keep" in limit:
            order = order[: max(1, math.floor(limit["keep"] * len(order) + 0.5))]
            assert abs(len(order) - limit["keep"] * len(members)) <= 1
        elif "min" in limit:
            order = [row for row in order if round(scores[place(row)], 5) >= limit["min"]]
        stay |= {place(row) for row in order}
    return stay


def place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["source"], row["shard"], row["member"]


def kept(out: Path) -> set[tuple[str, str, str]]:
    """The rows that stayed."""
    return {place(row) for row in rows(out, "decisions") if row["decision"] == "kept"}


@pytest.mark.parametrize(
    ("clip", "own"),
    [
        ({"keep": 0.14}, {"keep": 0.5}),
        ({"keep": 1.0}, {"keep": 0.001}),
        (
            {"keep": 0.5, "languages": {"zh": {"keep": 0.25}}},
            {"keep": 0.34, "languages": {"en": {"keep": 0.9}}},
        ),
        ({"min": 0.3, "languages": {"zh": {"keep": 0.5}}}, {"languages": {"zh": {"min": 0.2}}}),
    ],
)
def test_a_share_stays_by_source_and_language(
    tmp_path: Path, clip: dict[str, Any], own: dict[str, Any]
) -> None:
    """A language's share within a source goes first, then the source's, then the recipe's; ties go by key."""
    build(recipe(tmp_path / "in", clip, own), tmp_path / "out")
    assert kept(tmp_path / "out") == expected(tmp_path / "out", {"one": own, "two": clip})


def test_the_card_tells_at_which_score_a_share_was_reached(tmp_path: Path) -> None:
    """Manifest and card name, beside each share, the least score that stayed; a decision dropped below it."""
    clip, own = {"keep": 0.5}, {"keep": 0.3, "languages": {"zh": {"keep": 0.5}, "en": {"min": 0.2}}}
    build(recipe(tmp_path / "in", clip, own), tmp_path / "out")
    told = json.loads((tmp_path / "out" / "manifest.json").read_bytes())["thresholds"]
    scores = {place(row): row["clip_score"] for row in rows(tmp_path / "out", "scores")}
    language = {place(row): row["language"] for row in rows(tmp_path / "out", "signals")}
    chinese = [scores[one] for one in kept(tmp_path / "out") if one[0] == "one" and language[one] == "zh"]
    assert told["one"]["clip"]["languages"]["zh"]["least_score"] == pytest.approx(min(chinese), abs=1e-5)
    assert "least_score" not in told["one"]["clip"]["languages"]["en"]
    least = min(scores[one] for one in kept(tmp_path / "out") if one[0] == "two")
    assert told["two"]["clip"]["least_score"] == pytest.approx(least, abs=1e-5)
    assert (
        f"least\\_score {told['two']['clip']['least_score']}" in (tmp_path / "out" / "README.md").read_text()
    )
