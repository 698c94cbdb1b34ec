"""The rules over the signals of one row: pure functions from columns to "fails".

A rule never fails a row for what could not be measured: a text source has no width, a missing caption
no length. Not here are the rules that need more than a row's own signals: `clip` (the scores, and for
`keep` those of the whole source) and the duplicates (`repeat`, `exact`, `pixels`, `phash`).

In a few words, why a row failed a rule: what was measured, and the limit where it is known.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters import extra
from filters.arrow import Bools, Column, Lists, array, bools, lists, pc, some
from filters.extra import parsed
from filters.scripts import SCRIPTS_OF, admitted, base, scripts_of
from schemas import rules as blocks
from schemas.row import SIGNALS
from schemas.rules import RuleSettings

SHOWN: Final = (
    "special_tag", "pattern", "caption_chars", "caption_words", "caption_han", "scripts", "emoji", "language",
    "language_score", "aspect_ratio", "width", "height", "grey_range", "grey_std", "orientation",
    "text_area", "text_repeats", "extra",
)  # fmt: skip
"""The signals that `why` may speak of."""


def why(rule: str, signals: dict[str, Any], settings: Any = None) -> str | None:
    """The text for one row; None where the rule's name says it all. `settings` are the rule's block."""
    limit = settings or None
    if rule.startswith("columns."):
        name = rule.removeprefix("columns.")
        value = parsed(signals["extra"]).get(name)
        return f"{name} {json.dumps(value, ensure_ascii=False)}"
    match rule:
        case "special_tag" | "pattern":
            return f"{rule} {signals[rule]}"
        case "caption_length":
            counts = (f"{signals['caption_' + unit]} {unit}" for unit in ("chars", "words", "han"))
            return ", ".join(counts)
        case "script":
            return ", ".join(f"{one['script']} {one['letters']}" for one in (signals["scripts"] or ())[:5])
        case "emoji":
            return f"{signals['emoji']} emoji" + (f" > {limit.max}" if limit else "")
        case "language":
            return f"{signals['language']} {signals['language_score'] or 0:.2f}"
        case "aspect_ratio":
            return f"aspect_ratio {signals['aspect_ratio']:.2f}" + (f" > {limit.max:g}" if limit else "")
        case "min_side":
            return f"{signals['width']} x {signals['height']}" + (f" < {limit.pixels}" if limit else "")
        case "blank":
            return f"grey_std {signals['grey_std']:.2f}, grey_range {signals['grey_range']}"
        case "orientation":
            return f"orientation {signals['orientation']}"
        case "text_area":
            share = f"text_area {signals['text_area']:.2f}" + (f" > {limit.max:g}" if limit else "")
            return f"{share}, with {signals['text_repeats']:.2f} of the caption"
        case _:
            return None


Table: TypeAlias = "pa.Table | pa.RecordBatch"
Counts = npt.NDArray[np.int64]
Rule = Callable[[Table, Any, Sequence[str]], Column]


def no_caption(signals: Table, settings: blocks.NoCaption, languages: Sequence[str]) -> Any:
    """Fails where there is no caption, or none is left after cleaning."""
    return pc.equal(pc.fill_null(_column(signals, "caption"), ""), "")


def special_tag(signals: Table, settings: blocks.SpecialTag, languages: Sequence[str]) -> Any:
    """Fails where a placeholder was found."""
    return pc.is_valid(_column(signals, "special_tag"))


def pattern(signals: Table, settings: blocks.Pattern, languages: Sequence[str]) -> Any:
    """Fails where the caption is an irregular pattern that is not allowed."""
    found = _column(signals, "pattern")
    allowed = pc.is_in(found, value_set=array(settings.allow, pa.string()))
    return pc.and_(pc.is_valid(found), pc.invert(allowed))


def caption_length(signals: Table, settings: blocks.CaptionLength, languages: Sequence[str]) -> Any:
    """Fails where the caption is too short (too few characters, and too few Han ones) or too long."""
    chars, words = _column(signals, "caption_chars"), _column(signals, "caption_words")
    short = pc.and_(
        _true(pc.less(chars, settings.min_chars)),
        _true(pc.less(_column(signals, "caption_han"), settings.min_han)),
    )
    fails = [short, _true(pc.greater(chars, settings.max_chars))]
    if settings.min_words is not None:
        fails.append(_true(pc.less(words, settings.min_words)))
    if settings.max_words is not None:
        fails.append(_true(pc.greater(words, settings.max_words)))
    return _any(fails)


def script(signals: Table, settings: blocks.Script, languages: Sequence[str]) -> Any:
    """Fails where more letters than tolerated are of scripts that are not allowed."""
    allowed = settings.scripts if settings.scripts is not None else scripts_of(languages)
    if not allowed:
        return _none(signals)
    foreign, letters = _foreign_letters(signals, allowed)
    return array(foreign > settings.tolerance * letters)


def emoji(signals: Table, settings: blocks.Emoji, languages: Sequence[str]) -> Any:
    """Fails where the raw caption has more emoji than allowed."""
    return _true(pc.greater(_column(signals, "emoji"), settings.max))


def language(signals: Table, settings: blocks.LanguageRule, languages: Sequence[str]) -> Any:
    """Fails where the language is not among those allowed; `und`, and a guess with a low score, fail
    where a letter is of a script that no allowed language is written in."""
    if not languages:
        return _none(signals)
    found, score = _column(signals, "language"), _column(signals, "language_score")
    other = bools(pc.is_valid(found)) & ~bools(pc.is_in(found, value_set=array(admitted(languages))))
    sure = bools(pc.greater_equal(pc.cast(score, pa.float64()), settings.min_score))
    sure &= bools(pc.not_equal(found, "und"))
    if settings.undetermined == "keep":
        return array(other & sure)
    foreign, _ = _foreign_letters(signals, scripts_of(languages))
    return array(other & (sure | (foreign > 0) | (settings.undetermined == "drop")))


def aspect_ratio(signals: Table, settings: blocks.AspectRatio, languages: Sequence[str]) -> Any:
    """Fails where the longer side is too many times the shorter."""
    return _true(pc.greater(pc.cast(_column(signals, "aspect_ratio"), pa.float64()), settings.max))


def min_side(signals: Table, settings: blocks.MinSide, languages: Sequence[str]) -> Any:
    """Fails where the shorter side has too few pixels."""
    shorter = pc.min_element_wise(_column(signals, "width"), _column(signals, "height"))
    return _true(pc.less(shorter, settings.pixels))


def blank(signals: Table, settings: blocks.Blank, languages: Sequence[str]) -> Any:
    """Fails where the picture is of one colour: little deviation and little range."""
    even = _true(pc.less(_column(signals, "grey_std"), settings.grey_std))
    return pc.and_(even, _true(pc.less(_column(signals, "grey_range"), settings.grey_range)))


def orientation(signals: Table, settings: blocks.Orientation, languages: Sequence[str]) -> Any:
    """Fails where EXIF says that the stored picture is turned or mirrored."""
    return _true(pc.greater(_column(signals, "orientation"), 1))


def text_area(signals: Table, settings: blocks.TextArea, languages: Sequence[str]) -> Any:
    """Fails where much of the picture is text, and that text holds much of the caption."""
    heavy = _true(pc.greater(_column(signals, "text_area"), settings.max))
    said = _true(pc.greater_equal(_column(signals, "text_repeats"), settings.repeats))
    return pc.and_(heavy, said)


RULES: Final[dict[str, Rule]] = {
    "no_caption": no_caption,
    "special_tag": special_tag,
    "pattern": pattern,
    "caption_length": caption_length,
    "script": script,
    "emoji": emoji,
    "language": language,
    "aspect_ratio": aspect_ratio,
    "min_side": min_side,
    "blank": blank,
    "orientation": orientation,
    "text_area": text_area,
    # columns come here (filters/extra.py), a rule each
    # then clip, repeat, exact, pixels, phash: they are judged where their inputs are
}
"""Every rule over a row's own signals, in rule order: the order of RuleSettings' fields."""


def failures(signals: Table, rules: RuleSettings, languages: Sequence[str]) -> Any:
    """list<string>: for each row the names of all rules of RULES and on columns that it fails, in rule order."""
    on = {name: settings for name in RULES if (settings := getattr(rules, name))}
    fails_of = {name: bools(RULES[name](signals, settings, languages)) for name, settings in on.items()}
    if rules.columns and rules.columns.limits:
        fails_of |= extra.failures(_column(signals, "extra"), rules.columns.limits)
    if not fails_of:
        return array([[]] * signals.num_rows, pa.list_(pa.string()))
    names = array(fails_of, pa.string())
    # one column a rule, read row by row, gives each row its rules in order
    fails = np.stack(list(fails_of.values()), axis=1)
    offsets = np.concatenate([[0], np.cumsum(fails.sum(axis=1))])
    return lists(offsets, some(names, np.nonzero(fails)[1]))


def detail(signals: Table, failed: Lists, rules: RuleSettings | None = None) -> Any:
    """Why each row failed its first rule (`aspect_ratio 4.80 > 3`); null where it failed none.

    The limit is told where `rules` are given.
    """
    rows = np.flatnonzero(_has_any(failed))
    first = pc.list_element(some(failed, rows), 0).to_pylist()
    present = [name for name in SHOWN if name in signals.schema.names]
    values = some(signals.select(present), rows).to_pylist()
    texts = np.full(signals.num_rows, None, object)
    for row, name, value in zip(rows, first, values, strict=True):
        texts[row] = why(name, value, getattr(rules, name, None))
    return array(texts, pa.string())


def dedup_language(signals: Table, languages: Sequence[str]) -> Any:
    """The language by which one keeper a language is chosen, null where none was measured.

    Where it is undetermined, or not one of those allowed: the only allowed language that is written in
    the caption's foremost script, else `und`.
    """
    found = _column(signals, "language")
    foremost = _foremost_script(signals)
    guess: Any = array(["und"] * signals.num_rows, pa.string())
    plain = sorted({base(name) for name in languages})
    for name in scripts_of(plain):
        owners = [language for language in plain if name in scripts_of([language])]
        if len(owners) == 1:
            guess = pc.if_else(_true(pc.equal(foremost, name)), owners[0], guess)
    known = array(admitted(languages) or sorted(SCRIPTS_OF), pa.string())
    keeps = pc.or_(pc.is_in(found, value_set=known), pc.is_null(found))
    return pc.if_else(keeps, found, guess)


def _column(signals: Table, name: str) -> Any:
    """A column as one array; a column that the source does not have is null throughout."""
    if name not in signals.schema.names:
        return pa.nulls(signals.num_rows, SIGNALS.field(name).type)
    column = signals.column(name)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _foreign_letters(signals: Table, allowed: Sequence[str]) -> tuple[Counts, Counts]:
    """For each row its letters of scripts that are not allowed, and all its letters."""
    size = signals.num_rows
    scripts = _column(signals, "scripts")
    lengths = pc.fill_null(pc.list_value_length(scripts), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(size), lengths)
    flat = scripts.flatten()
    letters = flat.field("letters").to_numpy(zero_copy_only=False)
    own = bools(pc.is_in(flat.field("script"), value_set=array(allowed, pa.string())))
    foreign = np.bincount(rows[~own], letters[~own], minlength=size)
    return foreign.astype(np.int64), np.bincount(rows, letters, minlength=size).astype(np.int64)


def _foremost_script(signals: Table) -> Any:
    """The most frequent script of each row, null where it has no letters."""
    names = np.full(signals.num_rows, None, object)
    scripts = _column(signals, "scripts")
    rows = np.flatnonzero(_has_any(scripts))
    names[rows] = pc.struct_field(pc.list_element(some(scripts, rows), 0), "script").to_pylist()
    return array(names, pa.string())


def _has_any(column: Any) -> Bools:
    return bools(pc.greater(pc.list_value_length(column), 0))


def _true(condition: Any) -> Any:
    """`condition` with null, which stands for what was not measured, as false."""
    return pc.fill_null(condition, False)


def _any(conditions: Sequence[Any]) -> Any:
    return array(np.logical_or.reduce([bools(one) for one in conditions]))


def _none(signals: Table) -> Any:
    return array(np.zeros(signals.num_rows, bool))
