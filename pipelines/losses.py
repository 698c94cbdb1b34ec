"""Why rows of a source were lost: the commonest messages, columns that differ between files, nothing kept."""

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Loss:
    """Quarantined rows of a source whose messages differ in names and numbers alone, and one row as an example."""

    source: str
    rows: int
    error: str
    message: str
    example: str

    def __str__(self) -> str:
        return f"{self.rows:,} × {self.error}: {self.message} (as in {self.example})"


class Losses:
    """Counts the messages of a source's quarantined rows; beyond 10,000 kinds a new one is among the others."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._kinds: dict[tuple[str, str], Loss] = {}
        self._rows = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Counts rows as `quarantined` gives them."""
        for row in rows:
            self._rows += 1
            message = row["error_message"] or ""
            kind = row["error"], _PARTICULARS.sub("…", message)
            known = self._kinds.get(kind)
            if known is not None:
                self._kinds[kind] = replace(known, rows=known.rows + 1)
            elif len(self._kinds) < _MOST:
                example = f"{row['shard']}/{_printable(row['member'])}"
                self._kinds[kind] = Loss(self._source, 1, row["error"], message, example)

    def commonest(self) -> list[Loss]:
        """Returns the commonest messages, those with the most rows first."""
        return [loss for _, loss in sorted(self._kinds.items(), key=lambda one: (-one[1].rows, one[0]))][
            :_SHOWN
        ]

    def __str__(self) -> str:
        shown = self.commonest()
        more = self._rows - sum(loss.rows for loss in shown)
        return "; ".join([*map(str, shown), *([f"{more:,} others"] if more else [])])


def quarantined(layout: Layout, source: str, shard: str) -> list[dict[str, Any]]:
    """Returns the quarantined rows of a shard: shard, member, error, error_message."""
    table = read_table(layout, layout.signals(source, shard), ["shard", "member", "error", "error_message"])
    rows: list[dict[str, Any]] = table.filter(table["error"].is_valid()).to_pylist()
    return rows


def commonest_errors(layout: Layout, source: str, shards: Iterable[str]) -> str:
    """The commonest messages of quarantined rows, each with its count and one row as an example."""
    losses = Losses(source)
    for shard in shards:
        losses.add(quarantined(layout, source, shard))
    return str(losses)


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
        if funnel.rows:
            sentences.append(
                f"source {source}: none of its {funnel.rows:,} rows is kept ({'; '.join(reasons)})"
            )
        else:
            sentences.append(f"source {source} has no rows")
    return sentences


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(_printable(name) for name in names[:20]) + more


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)
