"""Rows of a text set: JSONL, CSV, Parquet, or plain text with a row a line.

The text is the row's caption; there is no image, and that is no error. A row's member is its
line's number from 0 (in CSV the record's).
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from pipelines.files import Store
from pipelines.sources import parquet
from pipelines.sources.columns import Columns, Part, ReadLimits
from pipelines.sources.delimited import csv_records
from pipelines.sources.ledger import Ledger
from pipelines.sources.lines import Record, json_lines, lines
from pipelines.sources.records import check_columns, fields_of
from pipelines.sources.shard import InputShard
from schemas.errors import InputError, RowError, ShardError
from schemas.row import RawRow

_PEEK = 20


def read(
    shard: InputShard,
    columns: Columns,
    store: Store,
    start: int,
    limits: ReadLimits,
    ledgers: list[Ledger] | None = None,
) -> Iterator[RawRow]:
    """The rows from number `start` on; blank lines of JSONL are no rows, those of plain text are."""
    if shard.format == "parquet":
        yield from parquet.read(shard, columns, store, start, limits, images=False)
        return
    if shard.format == "txt":
        for number, (line, error) in islice(enumerate(lines(shard, store, limits)), start, None):
            yield RawRow(str(number), None, line, error=error)
        return
    for number, record in islice(records(shard, columns, store, limits, ("caption",)), start, None):
        if isinstance(record, RowError):
            yield RawRow(str(number), None, None, error=record)
        else:
            fields = fields_of(record, columns)
            yield RawRow(str(number), None, fields.caption, fields.url, None, fields.extra, fields.error)


def fetch(
    shard: InputShard,
    columns: Columns,
    wanted: Sequence[tuple[str, int | None]],
    store: Store,
    limits: ReadLimits,
) -> Iterator[tuple[str, bytes]]:
    """Raises InputError: text has no images."""
    raise InputError(f"{shard} holds no images")


def head(shard: InputShard, store: Store, limits: ReadLimits, rows: int) -> list[dict[str, object]]:
    """Returns the first records as stored; a line of plain text is a record of one field without a name."""
    if shard.format == "parquet":
        return parquet.head(shard, store, limits, rows)
    if shard.format == "txt":
        return [{"": line} for line, _ in islice(lines(shard, store, limits), rows) if line is not None]
    found = (record for _, record in records(shard, Columns(), store, limits, ()))
    return list(islice((record for record in found if isinstance(record, dict)), rows))


def names(shard: InputShard, columns: Columns, store: Store, limits: ReadLimits) -> list[str]:
    """The names in the first records."""
    return list(_names(_head(_stream(shard, columns, store, limits))[0]))


def records(
    shard: InputShard, columns: Columns, store: Store, limits: ReadLimits, needed: tuple[Part, ...]
) -> Iterator[tuple[int, Record]]:
    """The numbered records; InputError if a column that is needed is in none of the first ones."""
    stream = _stream(shard, columns, store, limits)
    head, damage = _head(stream)
    if found := _names(head):
        check_columns(shard, found, columns, needed)
    yield from head
    if damage:
        raise damage
    yield from stream


def _stream(
    shard: InputShard, columns: Columns, store: Store, limits: ReadLimits
) -> Iterator[tuple[int, Record]]:
    if shard.format == "jsonl":
        return json_lines(shard, store, limits)
    return csv_records(shard, store, limits, columns.all_names())


def _head(stream: Iterator[tuple[int, Record]]) -> tuple[list[tuple[int, Record]], ShardError | None]:
    """The first records, and the damage that ends them."""
    head: list[tuple[int, Record]] = []
    try:
        head.extend(islice(stream, _PEEK))
    except ShardError as error:  # what was read before it counts
        return head, error
    return head, None


def _names(head: list[tuple[int, Record]]) -> dict[str, None]:
    return dict.fromkeys(name for _, record in head if isinstance(record, dict) for name in record)
