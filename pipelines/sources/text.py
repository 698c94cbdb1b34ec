"""Rows of a text set: JSONL, CSV, Parquet, or plain text with a row a line.

The text is the row's caption; there is no image, and that is no error. A row's member is its
line's number from 0 (in CSV the record's).
"""

from collections.abc import Iterator
from itertools import islice

from pipelines.sources import parquet
from pipelines.sources.columns import Part
from pipelines.sources.delimited import csv_records
from pipelines.sources.lines import Record, json_lines, lines
from pipelines.sources.records import check_columns, fields_of
from pipelines.sources.shard import Reading, Wanted
from schemas.errors import InputError, RowError, ShardError
from schemas.row import RawRow

_PEEK = 20


def read(reading: Reading, start: int) -> Iterator[RawRow]:
    """The rows from number `start` on; blank lines of JSONL are no rows, those of plain text are."""
    if reading.shard.format == "parquet":
        yield from parquet.read(reading, start, images=False)
        return
    if reading.shard.format == "txt":
        for number, (line, error) in islice(enumerate(lines(reading)), start, None):
            yield RawRow(str(number), None, line, error=error)
        return
    for number, record in islice(records(reading, ("caption",)), start, None):
        if isinstance(record, RowError):
            yield RawRow(str(number), None, None, error=record)
        else:
            fields = fields_of(record, reading.columns)
            yield RawRow(str(number), None, fields.caption, fields.url, None, fields.extra, fields.error)


def fetch(reading: Reading, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Raises InputError: text has no images."""
    raise InputError(f"{reading.shard} holds no images")


def head(reading: Reading, rows: int) -> list[dict[str, object]]:
    """Returns the first records as stored; a line of plain text is a record of one field without a name."""
    if reading.shard.format == "parquet":
        return parquet.head(reading, rows)
    if reading.shard.format == "txt":
        return [{"": line} for line, _ in islice(lines(reading), rows) if line is not None]
    found = (record for _, record in records(reading, ()))
    return list(islice((record for record in found if isinstance(record, dict)), rows))


def names(reading: Reading) -> list[str]:
    """The names in the first records."""
    return list(_names(_head(_stream(reading))[0]))


def records(reading: Reading, needed: tuple[Part, ...]) -> Iterator[tuple[int, Record]]:
    """The numbered records; InputError if a column that is needed is in none of the first ones."""
    stream = _stream(reading)
    head, damage = _head(stream)
    if found := _names(head):
        check_columns(reading.shard, found, reading.columns, needed)
    yield from head
    if damage:
        raise damage
    yield from stream


def _stream(reading: Reading) -> Iterator[tuple[int, Record]]:
    if reading.shard.format == "jsonl":
        return json_lines(reading)
    return csv_records(reading)


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
