"""Lines and CSV records of a text file, gzip or not, streamed with a limit on their length."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, cast

from pipelines.files import MIB, Store
from pipelines.readers.records import parse_json
from pipelines.readers.shard import InputShard
from schemas.columns import ReadLimits
from schemas.errors import RowError, ShardError

Record = dict[str, object] | RowError

_FREE: Final = 256 * MIB
_BOM: Final = b"\xef\xbb\xbf"


def lines(shard: InputShard, store: Store, limits: ReadLimits) -> Iterator[bytes | None]:
    """Each line without its end; None for one longer than `record_bytes`; ShardError on damaged gzip."""
    with _opened(shard, store) as file:
        most, done, first = max(_FREE, limits.ratio * shard.size), 0, True
        while line := _line(shard, store, file, limits.record_bytes):
            done += len(line)
            whole = line.endswith(b"\n") or len(line) <= limits.record_bytes
            while not line.endswith(b"\n") and (more := _line(shard, store, file, limits.record_bytes)):
                line, done = more, done + len(more)
            if done > most and isinstance(file, gzip.GzipFile):
                raise ShardError(f"{shard} unpacks to more than {limits.ratio} times its size; leave it out")
            text = line.removesuffix(b"\n").removesuffix(b"\r") if whole else None
            yield text.removeprefix(_BOM) if first and text is not None else text
            first = False


def json_lines(shard: InputShard, store: Store, limits: ReadLimits) -> Iterator[tuple[int, Record]]:
    """(line number from 0, the object or what is wrong with it); blank lines are no records."""
    for number, line in enumerate(lines(shard, store, limits)):
        if line is None:
            yield number, RowError("bad_row", f"a line of more than {limits.record_bytes} bytes")
        elif line.strip():
            try:
                yield number, parse_json(line, limits.record_bytes)
            except RowError as error:
                yield number, error


def csv_records(shard: InputShard, store: Store, limits: ReadLimits) -> Iterator[tuple[int, Record]]:
    """(record number from 0, the record by the names of the first line); ShardError if it is no CSV."""
    with _opened(shard, store) as file:
        text = io.TextIOWrapper(cast(Any, file), "utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.DictReader(text, delimiter="\t" if shard.format == "tsv" else ",", strict=False)
        number = 0
        while True:
            try:
                with store.reading(shard.path):
                    row = _or_damage(shard, lambda: next(reader, None))
            except csv.Error as error:
                raise ShardError(
                    f"{shard} is no sound CSV near line {reader.line_num} ({error}); mend it"
                ) from error
            if row is None:
                return
            yield number, _csv_row(row)
            number += 1


def _csv_row(row: dict[Any, Any]) -> Record:
    if None in row:
        return RowError("bad_row", "the record has more fields than the first line names")
    # bytes that are no UTF-8 stay as they are stored
    return {name: _stored(value) for name, value in row.items()}


def _stored(value: str | None) -> object:
    return None if value is None else value.encode("utf-8", "surrogateescape")


def _line(shard: InputShard, store: Store, file: BinaryIO | gzip.GzipFile, limit: int) -> bytes:
    with store.reading(shard.path):
        return cast(bytes, _or_damage(shard, lambda: file.readline(limit + 1)))


def _or_damage(shard: InputShard, read: Any) -> Any:
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ShardError(
            f"{shard} has damaged gzip data ({type(error).__name__}); write it again, or leave it out"
        ) from error


@contextmanager
def _opened(shard: InputShard, store: Store) -> Iterator[BinaryIO | gzip.GzipFile]:
    with store.open(shard.path) as file:
        with store.reading(shard.path):
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
        yield gzip.GzipFile(fileobj=file, mode="rb") if packed else file
