"""Scores of decisions against the truth."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.row import DECISIONS
from synth.crawl import write_crawl
from synth.defects import DEFECTS
from synth.truth import read_truth, score, score_cleaning, score_lines


def _line(member: str, planted: str, of: str | None = None, clean: str | None = None) -> dict[str, Any]:
    says = DEFECTS[planted]
    return {
        "shard": "00000", "member": member, "planted": planted, "rule": says.rule, "error": says.error,
        "also": list(says.also), "of": {"shard": "00000", "member": of} if of else None,
        "language": "en", "made_of": "scene", "clean_caption": clean,
    }  # fmt: skip


def _table(*rows: tuple[str, str, list[str]]) -> pa.Table:
    """Decisions of (member, decision, failed): the reason is the first that failed."""
    lines = []
    for member, decision, failed in rows:
        reason = failed[0] if failed else None
        rules = failed if decision != "quarantined" else []
        lines.append(
            {"shard": "00000", "member": member, "decision": decision, "reason": reason, "failed": rules}
        )
    return pa.Table.from_pylist(lines, DECISIONS)


def _scores(
    decisions: pa.Table, truth: list[dict[str, Any]], clip: bool = False
) -> dict[str, dict[str, Any]]:
    return {row["rule"]: row for row in score(decisions, truth, clip).to_pylist()}


def test_precision_and_recall_are_counted_by_rule() -> None:
    """Of two emoji one is found, and one sound row is accused: precision and recall are a half each."""
    truth = [_line("a", "emoji"), _line("b", "emoji"), _line("c", "none")]
    scores = _scores(
        _table(("a", "dropped", ["emoji"]), ("b", "kept", []), ("c", "dropped", ["emoji"])), truth
    )
    assert scores["emoji"] == {
        "rule": "emoji", "planted": 2, "found": 1, "reported": 2, "precision": 0.5, "recall": 0.5,
    }  # fmt: skip
    assert scores["kept"]["found"] == 0
    assert scores["kept"]["reported"] == 1


def test_a_rule_that_may_come_along_is_no_false_report() -> None:
    """A strip whose shorter side is small too fails both rules, and neither is wrong."""
    scores = _scores(_table(("a", "dropped", ["aspect_ratio", "min_side"])), [_line("a", "aspect")])
    assert scores["aspect_ratio"]["recall"] == 1.0
    assert scores["min_side"]["precision"] == 1.0
    assert scores["min_side"]["recall"] is None


def test_the_rule_counts_even_where_another_came_first() -> None:
    """What was planted is found when it is among all rules failed, not only as the reason."""
    scores = _scores(
        _table(("a", "dropped", ["caption_length", "script", "language"])), [_line("a", "language")]
    )
    assert scores["language"]["found"] == 1
    assert scores["caption_length"]["precision"] == 0.0


@pytest.mark.parametrize(
    ("first", "twin", "found"),
    [("kept", "dropped", 1), ("dropped", "kept", 1), ("dropped", "dropped", 1), ("kept", "kept", 0)],
)
def test_a_duplicate_is_found_when_at_most_one_is_kept(first: str, twin: str, found: int) -> None:
    """Either of the two may go, and the accusation is right whichever it is."""
    failed = {"kept": [], "dropped": ["phash"]}
    decisions = _table(("a", first, failed[first]), ("b", twin, failed[twin]))
    scores = _scores(decisions, [_line("a", "none"), _line("b", "near_dup", of="a")])
    assert scores["phash"]["found"] == found
    assert scores["phash"]["precision"] == (1.0 if "dropped" in (first, twin) else None)
    assert scores["kept"]["planted"] == 1
    assert scores["kept"]["found"] == ("kept" in (first, twin))


def test_errors_are_scored_as_rules_are() -> None:
    """A truncated picture is found when it is quarantined as truncated, not as anything else."""
    truth = [_line("a", "truncated"), _line("b", "truncated")]
    scores = _scores(_table(("a", "quarantined", ["truncated"]), ("b", "quarantined", ["not_image"])), truth)
    assert scores["truncated"]["recall"] == 0.5
    assert scores["not_image"]["precision"] == 0.0


def test_mismatches_are_not_measured_without_clip() -> None:
    """Without CLIP scores a kept mismatch is nobody's fault; with them it is a miss."""
    truth = [_line("a", "mismatch"), _line("b", "none")]
    decisions = _table(("a", "kept", []), ("b", "kept", []))
    without, with_clip = _scores(decisions, truth), _scores(decisions, truth, clip=True)
    assert without["clip"]["recall"] is None
    assert without["kept"]["precision"] == 1.0
    assert with_clip["clip"]["recall"] == 0.0
    assert with_clip["kept"]["precision"] == 0.5
    assert any("not measured" in line for line in score_lines(score(decisions, truth)))


def test_a_row_without_a_decision_is_an_error() -> None:
    """Decisions of another corpus are refused, with the row that they lack."""
    with pytest.raises(ValueError, match="row b of shard 00000"):
        score(_table(("a", "kept", [])), [_line("a", "none"), _line("b", "none")])


def test_cleaned_captions_are_compared_to_the_letter() -> None:
    """Per kind: how many rows, and how many came out as they must."""
    truth = [_line("a", "html", clean="a & b"), _line("b", "html", clean="c"), _line("c", "none")]
    table = score_cleaning({("00000", "a"): "a & b", ("00000", "b"): "<b>c</b>"}, truth)
    assert table.to_pylist() == [{"planted": "html", "rows": 2, "right": 1}]


def test_perfect_decisions_score_perfectly(tmp_path: Path) -> None:
    """Decisions taken from the truth of a written crawl have precision and recall 1 everywhere."""
    truth = read_truth(write_crawl(tmp_path, 110, 3, workers=1))
    lines = []
    for line in truth:
        decision = "dropped" if line["rule"] else "quarantined" if line["error"] else "kept"
        lines.append(
            (line["member"], decision, [line["rule"] or line["error"]] if decision != "kept" else [])
        )
    for name, row in _scores(_table(*lines), truth, clip=True).items():
        assert (row["precision"], row["recall"]) == (1.0, 1.0), name
        assert row["planted"] > 0
