"""Which rules each row fails by its own signals, and why in a few words.

A rule never fails a row for what could not be measured: a text source has no width, a missing caption no length. Rules
that look beyond a row's signals are judged where their inputs are (filters/corpus_rules.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from filters.arrow import Bools, Lists, array, bools, lists, pc, some
from filters.corpus_rules import CLIP, UNSCORED
from filters.filter import Columns, Rule
from filters.language import UNDETERMINED
from filters.scripts import SCRIPTS_OF, admitted, base, scripts_of
from filters.table import SIGNALS, Rules, RuleSettings

REMOVED = "removed"
"""The reason of a row that a list removes: the first of all."""

Table: TypeAlias = "pa.Table | pa.RecordBatch"


def failures(signals: Table, rules: Rules, languages: Sequence[str]) -> Any:
    """list<string>: for each row the names of all rules over its signals that it fails, in rule order."""
    fails_of: dict[str, Bools] = {}
    for rule in rules.table:
        settings = getattr(rules, rule.name)
        if rule.fails is not None and settings:
            fails_of |= _answers(rule, signals, settings, languages)
    if not fails_of:
        return array([[]] * signals.num_rows, pa.list_(pa.string()))
    names = array(fails_of, pa.string())
    # one column a rule, read row by row, gives each row its rules in order
    fails = np.stack(list(fails_of.values()), axis=1)
    offsets = np.concatenate([[0], np.cumsum(fails.sum(axis=1))])
    return lists(offsets, some(names, np.nonzero(fails)[1]))


def _answers(rule: Rule, signals: Table, settings: Any, languages: Sequence[str]) -> dict[str, Bools]:
    """By reason which rows fail; a rule over several columns of the data has a reason of each."""
    assert rule.fails is not None
    try:
        answer = rule.fails(columns(signals, rule.reads), settings, languages)
        if isinstance(answer, Mapping):
            found = {f"{rule.name}.{part}": bools(array(one)) for part, one in answer.items()}
        else:
            found = {rule.name: bools(answer)}
        if any(len(one) != signals.num_rows for one in found.values()):
            raise ValueError(f"it has {[*map(len, found.values())]} answers for {signals.num_rows} rows")
        return found
    except Exception as error:
        error.add_note(f"while the rule {rule.name} was judged")
        raise


def detail(signals: Table, failed: Lists, rules: Rules) -> Any:
    """Why each row failed its first rule (`aspect_ratio 4.80 > 3`); null where it failed none, or its name says it."""
    texts = np.full(signals.num_rows, None, object)
    rows = np.flatnonzero(bools(pc.greater(pc.list_value_length(failed), 0)))
    reasons = pc.list_element(some(failed, rows), 0).to_pylist()
    names = np.array([reason.partition(".")[0] for reason in reasons], object)
    for rule in rules.table:
        mine = rows[names == rule.name]
        if rule.fails is not None and len(mine):
            known = columns(some(signals, mine), rule.reads)
            values = zip(*(column.to_pylist() for column in known.values()), strict=True)
            settings = getattr(rules, rule.name)
            texts[mine] = [rule.says(dict(zip(known, row, strict=True)), settings) for row in values]
    return array(texts, pa.string())


def columns(signals: Table, names: Sequence[str]) -> Columns:
    """Columns as one array each; one that the table does not have is null throughout."""
    return {name: _column(signals, name) for name in names}


def _column(signals: Table, name: str) -> Any:
    if name not in signals.schema.names:
        kind = SIGNALS.field(name).type if name in SIGNALS.names else pa.null()
        return pa.nulls(signals.num_rows, kind)
    column = signals.column(name)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def dedup_language(signals: Table, languages: Sequence[str]) -> Any:
    """The language by which one keeper a language is chosen, null where none was measured.

    Where it is undetermined, or not one of those allowed: the only allowed language that is written in
    the caption's foremost script, else `und`.
    """
    found, foremost = _column(signals, "language"), _foremost_script(_column(signals, "scripts"))
    guess: Any = array([UNDETERMINED] * len(found), pa.string())
    plain = sorted({base(name) for name in languages})
    for name in scripts_of(plain):
        owners = [language for language in plain if name in scripts_of([language])]
        if len(owners) == 1:
            guess = pc.if_else(pc.fill_null(pc.equal(foremost, name), False), owners[0], guess)
    known = array(admitted(languages) or sorted(SCRIPTS_OF), pa.string())
    keeps = pc.or_(pc.is_in(found, value_set=known), pc.is_null(found))
    return pc.if_else(keeps, found, guess)


def _foremost_script(scripts: Any) -> Any:
    """The most frequent script of each row, null where it has no letters."""
    names = np.full(len(scripts), None, object)
    rows = np.flatnonzero(bools(pc.greater(pc.list_value_length(scripts), 0)))
    names[rows] = pc.struct_field(pc.list_element(some(scripts, rows), 0), "script").to_pylist()
    return array(names, pa.string())


def in_order(reasons: Iterable[str], rules: type[Rules] = RuleSettings) -> list[str]:
    """Reasons in the order in which they are given: removal, evaluation, then the rules, then any others.

    `columns.NAME` stands with `columns`, and `unscored` before `clip`.
    """
    names = [rule.name for rule in rules.table]
    places = {UNSCORED: names.index(CLIP.name) - 0.5, **{name: place for place, name in enumerate(names)}}

    def place(reason: str) -> tuple[float, str]:
        if reason == REMOVED:
            return -2, reason
        if reason.startswith("eval:"):
            return -1, reason
        return places.get(reason.partition(".")[0], len(names)), reason

    return sorted(reasons, key=place)
