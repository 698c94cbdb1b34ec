"""What a pipeline decided about the demo crawl, measured against what was planted in it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from synth.defects import DEFECTS

Place = tuple[str, str]
Truth = Mapping[str, Any]

SCORES: Final = pa.schema(
    {
        "rule": pa.string(),
        "planted": pa.int64(),
        "found": pa.int64(),
        "reported": pa.int64(),
        "precision": pa.float64(),
        "recall": pa.float64(),
    }
)
"""One row a rule or error: how often it was planted, how many of those were found, how often it was
reported in all. Null where nothing was measured."""

_CLEANING: Final = pa.schema({"planted": pa.string(), "rows": pa.int64(), "right": pa.int64()})

KEPT: Final = "kept"
"""The row of the table that counts what ought to stay: `found` is what stayed."""

_DUPLICATES: Final = ("repeat", "exact", "pixels", "phash")


def read_truth(path: Path) -> list[dict[str, Any]]:
    """The rows of a crawl's truth.jsonl."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@dataclass(slots=True)
class _Count:
    planted: int = 0
    found: int = 0
    reported: int = 0
    right: int = 0
    measured: bool = True

    def row(self, name: str) -> dict[str, Any]:
        precision = self.right / self.reported if self.reported else None
        recall = self.found / self.planted if self.planted else None
        if not self.measured:
            return {"rule": name, "planted": self.planted}
        return {
            "rule": name, "planted": self.planted, "found": self.found, "reported": self.reported,
            "precision": precision, "recall": recall,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Decided:
    """What was decided of one row: whether it was kept, and every rule or error that it was charged with."""

    kept: bool
    charges: frozenset[str]


def _decided(decisions: pa.Table) -> dict[Place, _Decided]:
    found = {}
    for row in decisions.select(["shard", "member", "decision", "reason", "failed"]).to_pylist():
        charges = frozenset(row["failed"] or ()) | ({row["reason"]} if row["reason"] else set())
        found[_place(row)] = _Decided(row["decision"] == "kept", charges)
    return found


def _place(named: Truth) -> Place:
    return named["shard"], named["member"]


def _allowed(truth: Sequence[Truth]) -> dict[Place, set[str]]:
    """The rules and errors that each row may be charged with: its own, and its duplicates'."""
    allowed: dict[Place, set[str]] = {}
    for line in truth:
        own = {line["rule"], line["error"], *line["also"]} - {None}
        allowed.setdefault(_place(line), set()).update(own)
        if line["of"] and line["rule"]:
            # of two that are alike either may be the one that is dropped
            allowed.setdefault(_place(line["of"]), set()).update(own)
    return allowed


def _found(line: Truth, decided: Mapping[Place, _Decided]) -> bool:
    """Whether what was planted was noticed; a duplicate is when at most one of the two was kept."""
    here = decided[_place(line)]
    if line["rule"] in _DUPLICATES:
        return not (here.kept and decided[_place(line["of"])].kept)
    return (line["rule"] or line["error"]) in here.charges and not here.kept


def _kept(truth: Sequence[Truth], decided: Mapping[Place, _Decided], clip: bool) -> _Count:
    """Images that ought to stay; two rows of one image are one, and one of them has to stay."""
    units: dict[Place, list[Place]] = {}
    for line in truth:
        duplicate = line["rule"] in _DUPLICATES
        if duplicate or not (line["rule"] or line["error"]):
            home = _place(line["of"]) if duplicate else _place(line)
            units.setdefault(home, []).append(_place(line))
    sound = {place for places in units.values() for place in places}
    count = _Count(planted=len(units))
    count.found = sum(any(decided[place].kept for place in places) for places in units.values())
    for line in truth:
        if decided[_place(line)].kept and (clip or line["rule"] != "clip"):
            count.reported += 1
            count.right += _place(line) in sound
    return count


def score(decisions: pa.Table, truth: Sequence[Truth], clip: bool = False) -> pa.Table:
    """The precision and recall of every rule and error, as a table of the schema SCORES.

    `decisions` has the columns shard, member, decision, reason and failed, as in work/decisions; rows are
    joined by (shard, member). With `clip` False the rule `clip` counts as not measured: nothing else can
    notice a caption that belongs to another image. A report is right when it names what was planted, or
    what may come with it. Raises ValueError when a row of the truth has no decision.
    """
    decided = _decided(decisions)
    missing = next((_place(line) for line in truth if _place(line) not in decided), None)
    if missing:
        raise ValueError(
            f"no decision about row {missing[1]} of shard {missing[0]}: not the corpus of this crawl?"
        )
    names = dict.fromkeys(one.rule or one.error for one in DEFECTS.values() if one.rule or one.error)
    counts = {name: _Count(measured=clip or name != "clip") for name in names if name}
    allowed = _allowed(truth)
    for line in truth:
        planted = line["rule"] or line["error"]
        if planted:
            counts[planted].planted += 1
            counts[planted].found += _found(line, decided)
        for charge in decided[_place(line)].charges & counts.keys():
            counts[charge].reported += 1
            counts[charge].right += charge in allowed[_place(line)]
    rows = [count.row(name) for name, count in counts.items()]
    rows.append(_kept(truth, decided, clip).row(KEPT))
    return pa.Table.from_pylist(rows, SCORES)


def score_cleaning(captions: Mapping[Place, str], truth: Iterable[Truth]) -> pa.Table:
    """How many captions that needed cleaning came out right: columns planted, rows, right.

    `captions` holds the cleaned caption of each (shard, member); an absent row counts as wrong.
    """
    counts: dict[str, list[int]] = {}
    for line in truth:
        if line["clean_caption"] is not None:
            count = counts.setdefault(line["planted"], [0, 0])
            count[0] += 1
            count[1] += captions.get(_place(line)) == line["clean_caption"]
    rows = [{"planted": kind, "rows": rows, "right": right} for kind, (rows, right) in sorted(counts.items())]
    return pa.Table.from_pylist(rows, _CLEANING)


def score_lines(scores: pa.Table) -> list[str]:
    """The table of `score` as lines of text, columns aligned."""
    lines = [f"{'rule':<16}{'planted':>8}{'found':>8}{'precision':>14}{'recall':>14}"]
    for row in scores.to_pylist():
        shares = ["-" if row[name] is None else f"{row[name]:.3f}" for name in ("precision", "recall")]
        found = "-" if row["found"] is None else str(row["found"])
        if row["found"] is None:
            shares[1] = "not measured"
        lines.append(f"{row['rule']:<16}{row['planted']:>8}{found:>8}{shares[0]:>14}{shares[1]:>14}")
    return lines
