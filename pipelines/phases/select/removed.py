"""The rows that a list removes: those that it names, and those with an image like theirs; and what work/ keeps of them.

Texts of rows lie in signals (caption, address, further fields, what was wrong), in drafts and noun chunks, in vectors
beside scores, and in the input that the build made itself: rendered pages, parts of annotation files, and what it
fetched from lists of URLs.

Rows are blanked when they are decided on, not when they are measured, since scores and `keep` thresholds count them: so
nothing else moves, whether a corpus is built with the list or gets it later. work/removed keeps of a blanked row the
hashes that a later list is compared with, and the numbers that rules read.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.extra import ColumnRules, number, parsed
from pipelines.layout import Layout
from pipelines.parquet import read_table, write_tables
from pipelines.phases.dedup.signals import KINDS
from pipelines.recipe.model import Recipe, Source
from pipelines.removal import hashed, hosts_of, spellings
from pipelines.sources import annotations, rendered, urls
from pipelines.sources.table import KINDS as SOURCE_KINDS
from schemas.errors import InputError

if TYPE_CHECKING:
    from pipelines.phases.select.judged import Judged

VECTORS: Final = ("image_embedding", "text_embedding")
"""What work/scores may hold of a row beside its score."""

IMAGES: Final = KINDS[1:]
"""The kinds of clusters that go with a row of theirs; repeats share a key, and so its place on a list."""

REMEMBERED: Final = ("url", "host", "id")
"""What is blanked of all that a list may name."""

BLANKED: Final = pa.schema([(name, pa.string()) for name in ("member", "key", *REMEMBERED, "numbers")])
"""work/removed: the rows whose texts are gone; hashes of what a list may name, and numbers as in `extra`.

Of an address there is a hash of each spelling, with a space between them.
"""

MATCHES: Final = pa.schema(
    [("row", pa.int64()), *((name, pa.string()) for name in ("column", "value", *IMAGES))]
)
"""Each row that a value of the list names, by its number, with the clusters that go with it ("" for none)."""

TEXTS: Final = ("caption", "caption_raw", "url", "extra", "refusal_text", "error_message")
"""The signals that are blanked; `extra` of annotations is our own, their split among it, and stays."""


@dataclass(frozen=True)
class Memory:
    """What work/removed knows of the rows of a shard, in their order: `rows` is null where a row is not blanked."""

    blank: npt.NDArray[np.bool_]
    rows: pa.Table

    @classmethod
    def read(cls, layout: Layout, source: Source, shard: str, signals: pa.Table) -> "Memory":
        """Reads it; a row with texts was measured again since, and is not blanked."""
        path = layout.path("removed", source.id, shard)
        if not layout.store.exists(path):
            count = signals.num_rows
            nulls = [pa.nulls(count, one.type) for one in BLANKED]
            return cls(np.zeros(count, np.bool_), pa.table(nulls, schema=BLANKED))
        table = read_table(layout, path)
        at = pc.index_in(signals["member"].combine_chunks(), value_set=table["member"].combine_chunks())
        rows = table.take(at)
        blank = pc.fill_null(pc.equal(rows["key"], signals["key"]), False)
        for name in _texts(source):
            blank = pc.and_(blank, pc.is_null(signals[name]))
        return cls(blank.to_numpy(), rows)

    @classmethod
    def joined(cls, parts: Sequence["Memory"]) -> "Memory":
        """Returns what is known of the rows of several shards."""
        rows = pa.concat_tables([one.rows for one in parts])
        return cls(np.concatenate([one.blank for one in parts]), rows)

    def restored(self, signals: pa.Table) -> pa.Table:
        """The signals as rules judge them: with the numbers, and with some caption where there was one."""
        if not self.blank.any():
            return signals
        there = pc.fill_null(pc.greater(signals["caption_chars"], 0), False)
        caption = pc.if_else(pc.and_(pa.array(self.blank), there), "-", signals["caption"])
        extra = pc.if_else(
            pa.array(self.blank), pc.coalesce(self.rows["numbers"], signals["extra"]), signals["extra"]
        )
        return _with(_with(signals, "caption", caption), "extra", extra)


def _texts(source: Source) -> tuple[str, ...]:
    return tuple(name for name in TEXTS if name != "extra" or not SOURCE_KINDS[source.kind].annotated)


def _with(table: pa.Table, name: str, column: Any) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), column)


def _itself(value: str) -> set[str]:
    return {value}


def _id(extra: str | None) -> set[str]:
    value = parsed(extra).get("id")
    return set() if value is None else {str(value)}


_OF: Final[dict[str, tuple[tuple[str, ...], Callable[[Any], set[str]]]]] = {
    "key": (("key",), _itself),
    "id": (("extra",), _id),
    "url": (("url",), spellings),
    "host": (("url",), hosts_of),
    "sha256": (("sha256", "original_sha256"), _itself),
}
"""For each column of a list the signals that hold it, and what it is of their values, in any of its spellings."""


def hashes(column: str, signals: pa.Table) -> Iterator[tuple[int, str]]:
    """Yields the rows that have something of a list's column, with the hash of each of its spellings."""
    names, of = _OF[column]
    for name in names:
        for row, given in enumerate(signals[name].to_pylist()):
            for value in sorted(of(given)) if given is not None else ():
                yield row, hashed(value)


class Found:
    """The rows that the list names, over all shards."""

    def __init__(self, table: pa.Table = MATCHES.empty_table()) -> None:  # noqa: B008 - never changes
        self._rows = table["row"].to_numpy()
        self._columns = table["column"].to_pylist()
        self._clusters = {kind: pc.unique(table[kind]) for kind in IMAGES}

    def why(self, numbers: npt.NDArray[np.int64], clusters: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """What removes each row, given their numbers in the corpus, ascending, and their clusters.

        That is the column by which it is listed, else the kind of its cluster, or "".
        """
        found = np.full(len(numbers), "", object)
        if not len(self._rows):
            return found
        start, stop = np.searchsorted(self._rows, [numbers[0], numbers[-1] + 1]) if len(numbers) else (0, 0)
        for at in reversed(range(start, stop)):  # of several columns the first stands
            found[np.searchsorted(numbers, self._rows[at])] = self._columns[at]
        for kind, names in self._clusters.items():
            mine = pc.is_in(pa.array(clusters[kind], pa.string()), value_set=names).to_numpy(
                zero_copy_only=False
            )
            found[mine & (clusters[kind] != "") & (found == "")] = kind
        return found


def said(why: str) -> str:
    """Returns the detail of a removed row's decision."""
    if why in IMAGES:
        return f"in a cluster ({why}) with a row on the list of removed rows"
    return f"its {why} is on the list of removed rows"


def check(judged: "Judged", memory: Memory) -> None:
    """Raises InputError where rows are blanked that no list removes any more: their texts are gone."""
    lost = np.flatnonzero(memory.blank & (judged.removed == ""))
    if len(lost):
        shards = judged.taken("shard", lost).to_pylist()
        count = shards.count(shards[0])
        raise InputError(
            f"{judged.source.id}/{shards[0]}: the texts of {count:,} rows were removed from this corpus, but its list "
            "of removed rows does not name them any more: put back its removed.parquet, or build in a new folder"
        )


def blank(layout: Layout, recipe: Recipe, judged: "Judged", memory: Memory, shard: str) -> None:
    """Takes the texts of a shard's removed rows out of work/; what is known of them goes there first.

    The signals come last: while a row has texts there, a run that was killed is not done with it.
    """
    gone = judged.removed != ""
    if not gone.any():
        return
    source = judged.source
    if (gone & ~memory.blank).any():
        remembered = _remembered(recipe, judged, memory, gone)
        path = layout.path("removed", source.id, shard)
        write_tables(layout, path, BLANKED, [remembered])
        if (
            layout.is_local
        ):  # on the disk before the texts go: what is known of the rows is then known nowhere else
            layout.store.sync(path)
            layout.store.sync(path.rpartition("/")[0])
    members = judged.signals["member"].filter(pa.array(gone)).combine_chunks()
    _hide(layout, source, shard, members)
    # what follows does not go by the signals: of a page without a caption they look blank when it was measured again
    for folder in ("drafts", "grounded"):
        _without_rows(layout, layout.path(folder, source.id, shard), members)
    _without_details(layout, layout.path("annotations", source.id, shard), members)
    _without_vectors(layout, layout.path("scores", source.id, shard), members)
    signals = judged.signals
    for name in _texts(source):
        blanked = pc.if_else(pa.array(gone), pa.scalar(None, pa.string()), signals[name])
        signals = _with(signals, name, blanked)
    write_tables(layout, layout.path("signals", source.id, shard), signals.schema, [signals])


def _hide(layout: Layout, source: Source, shard: str, members: pa.Array) -> None:
    """Takes rows out of an input shard that the build itself made or fetched. Nothing is measured again for that."""
    kind, names = SOURCE_KINDS[source.kind], set(members.to_pylist())
    if kind.made:
        rendered.hide(layout, source.id, shard, names)
    elif kind.annotated:
        annotations.hide(layout, source.id, shard, names)
    elif kind.fetched and source.fetch.raw is None:
        urls.hide(layout, source.id, shard, names)


def _without_rows(layout: Layout, path: str, members: pa.Array) -> None:
    """Takes rows out of a file of work/, if it is there and has them."""
    if layout.store.exists(path):
        table = read_table(layout, path)
        stays = pc.invert(pc.is_in(table["member"], value_set=members))
        if not pc.all(stays).as_py():
            write_tables(layout, path, table.schema, [table.filter(stays)])


def _without_details(layout: Layout, path: str, members: pa.Array) -> None:
    """Takes ids and details of rows' annotations out of a file of work/, if there is one, and leaves their reasons."""
    if not layout.store.exists(path):
        return
    table = read_table(layout, path)
    gone = pc.is_in(table["member"], value_set=members)
    blanked = table
    for name in ("id", "detail"):
        blanked = _with(blanked, name, pc.if_else(gone, pa.scalar(None, pa.string()), table[name]))
    if not blanked.equals(table):
        write_tables(layout, path, table.schema, [blanked])


def _without_vectors(layout: Layout, path: str, members: pa.Array) -> None:
    """Takes the vectors of rows out of a file of scores, if it has any, and leaves the scores."""
    if not layout.store.exists(path):
        return
    table = read_table(layout, path)
    there = pc.is_in(table["member"], value_set=members)
    for name in {*VECTORS} & {*table.column_names}:
        vectors = zip(there.to_pylist(), table[name].to_pylist(), strict=True)
        kept = [None if gone else vector for gone, vector in vectors]
        table = _with(table, name, pa.array(kept, table.schema.field(name).type))
    if {*VECTORS} & {*table.column_names}:
        write_tables(layout, path, table.schema, [table])


def _remembered(recipe: Recipe, judged: "Judged", memory: Memory, gone: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows of work/removed for the rows that go: as it has them, or from their signals."""
    rows = np.flatnonzero(gone)
    signals = judged.signals.take(pa.array(rows))
    known = memory.rows.take(pa.array(rows))
    rules = recipe.rules_of(judged.source).get(ColumnRules)
    names = {*(rules.limits if rules else ()), judged.source.clip_score}
    columns: dict[str, Any] = {name: signals[name] for name in ("member", "key")}
    for name in REMEMBERED:
        columns[name] = _column(hashes(name, signals), len(rows))
    columns["numbers"] = pa.array(
        [_numbers(extra, names) for extra in signals["extra"].to_pylist()], pa.string()
    )
    fresh = pa.Table.from_arrays([columns[name] for name in BLANKED.names], schema=BLANKED)
    was = pa.array(memory.blank[rows])
    return pa.table([pc.if_else(was, known[name], fresh[name]) for name in BLANKED.names], schema=BLANKED)


def _column(found: Iterable[tuple[int, str]], count: int) -> pa.Array:
    values: dict[int, list[str]] = {}
    for row, value in found:
        values.setdefault(row, []).append(value)
    return pa.array([" ".join(values[row]) if row in values else None for row in range(count)], pa.string())


def _numbers(extra: str | None, names: set[str | None]) -> str | None:
    """Of a row's further fields the numbers and truth values that a rule or a score reads."""
    found = {
        name: value
        for name, value in parsed(extra).items()
        if name in names and (isinstance(value, bool) or number(value) is not None)
    }
    return json.dumps(found, sort_keys=True) if found else None
