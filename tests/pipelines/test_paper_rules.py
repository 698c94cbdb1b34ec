"""The end of a run names the paper's rules that it did without."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from filters.rules import in_order
from filters.table import RuleSettings
from pipelines.progress import Lines
from pipelines.recipe.load import from_file
from pipelines.recipe.model import Recipe
from pipelines.remarks import PAPER, unused_rules
from pipelines.runs import Options, run
from pipelines.sources import InputShard
from tests.pipelines.crawls import demo

HOUSE = Path(__file__).parent.parent.parent
SCORED = {"clip_score": "similarity", "columns": {"extra": ["similarity"]}}
OFF = dict.fromkeys(PAPER, False)


def named(*sources: dict[str, Any], kind: str = "parquet", **more: Any) -> list[str]:
    """The rules that the sentence names, in its order."""
    recipe = Recipe.model_validate({"sources": [{"path": "x", **source} for source in sources], **more})
    shards = [InputShard(one.id, "0", "x", kind, "parquet", 0) for one in recipe.sources]
    sentences = list(unused_rules(recipe, shards))
    assert len(sentences) <= 1
    listed = sentences[0].split(": ", 1)[1].rsplit("; ", 1)[0] if sentences else ""
    return [rule for rule in listed.replace(" (", ", ").split(", ") if rule in PAPER]


def test_rules_that_are_off() -> None:
    """All of them, the CLIP score first; one that any source of pairs used is not named."""
    assert named({"id": "a", "rules": OFF}) == list(PAPER)
    assert named({"id": "a", "rules": OFF}, {"id": "b", "languages": ["en"]}) == ["clip"]
    scored = {"id": "c", "rules": {**OFF, "clip": {"min": 0.2}}, **SCORED}
    assert named({"id": "a", "rules": {**OFF, "emoji": True}}, scored) == [
        rule for rule in PAPER if rule not in ("clip", "emoji")
    ]
    assert named({"id": "a", **SCORED}, rules={"clip": {"keep": 0.5}}, languages=["en"]) == []


def test_scripts_need_languages() -> None:
    """The rule on scripts drops nothing where it knows no scripts."""
    assert named({"id": "a"}) == ["clip", "script"]
    assert named({"id": "a", "rules": {"script": {"scripts": ["Latin"]}}}) == ["clip"]


@pytest.mark.parametrize(
    "source", [{"captions": "none"}, {"role": "eval"}, {"kind": "rendered", "format": "pdf"}]
)
def test_sources_that_are_no_training_pairs(source: dict[str, Any]) -> None:
    """Images without captions, evaluation sets and rendered pages ask for nothing, and excuse nothing."""
    kind = source.get("kind", "parquet")
    assert named({"id": "a", **source}, kind=kind) == []
    assert named({"id": "a", "rules": OFF}, {"id": "b", "role": "eval"}) == list(PAPER)
    assert named({"id": "a"}, kind="text") == []


def test_the_demo_uses_all() -> None:
    """Nothing is said of the demo's recipe, which has every rule of the paper on."""
    recipe = from_file(str(HOUSE / "recipes" / "demo.yaml"))
    assert list(unused_rules(recipe, [InputShard("web", "0", "x", "webdataset", "tar", 0)])) == []


def test_the_names_are_rules() -> None:
    """Each name is a rule's, and after the CLIP score they stand in rule order."""
    assert set(PAPER) <= RuleSettings.model_fields.keys()
    assert list(PAPER[1:]) == in_order(PAPER[1:])


@pytest.mark.parametrize("as_json", [False, True])
def test_the_end_of_a_run(tmp_path: Path, as_json: bool) -> None:
    """One line at the end, and an event for machines."""
    source = {"id": "web", "path": str(demo(tmp_path, 20, 20))}
    recipe = {"sources": [source], "languages": ["en"], "max_quarantine": 1, "out": str(tmp_path / "out")}
    out = io.StringIO()
    run(Recipe.model_validate(recipe), "card", Options(engine="inline"), Lines(out, as_json))
    lines = [line for line in out.getvalue().splitlines() if "Qwen-VL's paper" in line]
    assert len(lines) == 1
    said = json.loads(lines[0]) if as_json else {"event": "say", "text": lines[0]}
    assert said["event"] == "say"
    assert said["text"].startswith(
        "rules of Qwen-VL's paper that no training source of pairs used: clip (without"
    )
