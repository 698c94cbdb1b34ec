"""Why rows of a source were lost: the commonest messages, columns that differ between files, nothing kept."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pipelines.layout import Layout
from pipelines.parquet import read_table
from pipelines.readers import InputShard, column_names
from schemas.columns import ReadLimits
from schemas.errors import InputError
from schemas.manifest import Funnel
from schemas.recipe import Source

_PARTICULARS: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d.,]*")
_SHOWN: Final = 3
_SUFFIXES: Final = 8
_MOST: Final = 10_000


def ignored_text(names: Sequence[str]) -> str:
    """How many files no shard reads, in all and by suffix, with one of each."""
    by_suffix: dict[str, list[str]] = {}
    for name in names:
        by_suffix.setdefault(posixpath.splitext(name)[1].lower(), []).append(name)
    ordered = sorted(by_suffix.items(), key=lambda item: (-len(item[1]), item[0]))
    listed = [
        f"{len(those):,} {suffix or 'without suffix'} ({those[0]}{', …' if len(those) > 1 else ''})"
        for suffix, those in ordered[:_SUFFIXES]
    ]
    more = ["…"] if len(ordered) > _SUFFIXES else []
    return f"{len(names):,} other files are ignored: {', '.join([*listed, *more])}"


def commonest_errors(layout: Layout, source: str, shards: Iterable[str]) -> str:
    """The commonest messages of quarantined rows, each with its count and one row as an example.

    Messages that differ in names and numbers alone are one; beyond 10,000 kinds no new one is counted.
    """
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for shard in shards:
        table = read_table(layout, layout.signals(source, shard), ["member", "error", "error_message"])
        table = table.filter(table["error"].is_valid())
        for row in table.to_pylist():
            message = row["error_message"] or ""
            kind = row["error"], _PARTICULARS.sub("…", message)
            if kind not in examples and len(examples) < _MOST:
                examples[kind] = f"{row['error']}: {message} (as in {shard}/{row['member']})"
            if kind in examples:
                counts[kind] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{count:,} × {examples[kind]}" for kind, count in ordered[:_SHOWN]]
    more = sum(count for _, count in ordered[_SHOWN:])
    return "; ".join([*listed, f"{more:,} others"] if more else listed)


def check_columns_agree(
    source: Source, measured: Sequence[tuple[InputShard, Mapping[str, Any]]], limits: ReadLimits
) -> None:
    """Raises InputError where a file has none of the caption columns that another file of the source has."""
    found = [shard for shard, receipt in measured if receipt["captions"]]
    wanted = source.columns.names("caption")
    for shard, receipt in measured:
        if not found or receipt["captions"] or not receipt["rows"]:
            continue
        names = column_names(shard, source.columns, source.storage_options, limits)
        if names is None or set(wanted) & set(names):
            continue
        others = column_names(found[0], source.columns, source.storage_options, limits) or []
        theirs = [name for name in wanted if name in others] or [wanted[0]]
        raise InputError(
            f"{shard} has the columns {_listed(names)}, but {found[0].path} has the caption in {_listed(theirs)}: "
            f"rename one, name both (columns: {{caption: [{theirs[0]}, …]}}), or make them two sources"
        )


def shown_columns(source: Source, shards: Sequence[InputShard], limits: ReadLimits) -> str:
    """The columns of a source's first file, in brackets; empty where it has none."""
    names = column_names(shards[0], source.columns, source.storage_options, limits) if shards else None
    return f" ({shards[0].path} has {_listed(names)})" if names else ""


def nothing_kept(
    layout: Layout, funnels: Mapping[str, Funnel], shards: Iterable[tuple[str, str]]
) -> list[str]:
    """A sentence for each source of which no row is kept, with what became of its rows."""
    known = list(shards)
    sentences = []
    for source, funnel in funnels.items():
        if funnel.kept:
            continue
        rules = sorted(funnel.rules, key=lambda rule: -rule.dropped)
        reasons = [f"{rule.dropped:,} dropped by {rule.rule}" for rule in rules[:_SHOWN] if rule.dropped]
        if funnel.quarantined:
            mine = [shard for owner, shard in known if owner == source]
            reasons.append(f"quarantined: {commonest_errors(layout, source, mine)}")
        why = "; ".join(reasons) or "it is empty"
        sentences.append(f"warning: source {source}: none of its {funnel.rows:,} rows is kept ({why})")
    return sentences


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(name if name.isprintable() else repr(name) for name in names[:20]) + more
