"""Rows of a Parquet file, streamed by record batches of bounded size; a row's member is its number."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.files import MIB, Store
from pipelines.readers.parquet_columns import is_bytes, is_list, mapping
from pipelines.readers.records import fields_of
from pipelines.readers.shard import InputShard
from schemas.columns import Columns, ReadLimits
from schemas.errors import InputError, RowError, ShardError
from schemas.row import RawRow

_BATCH_BYTES: Final = 4 * MIB
_BATCH_ROWS: Final = 1024


def read(
    shard: InputShard, columns: Columns, store: Store, start: int, limits: ReadLimits
) -> Iterator[RawRow]:
    """The rows from number `start` on; ShardError where the file cannot be read on."""
    with _opened(shard, store, limits) as (file, schema):
        image, others = mapping(shard, schema, columns)
        wanted = [*others] if image is None else [image, *others]
        for number, batch in _batches(shard, file, store, wanted, start):
            cells = batch.column(image) if image is not None else None
            records = _records(batch.select(others)) if others else [{}] * batch.num_rows
            for i, record in enumerate(records):
                yield _row(number + i, cells[i] if cells is not None else None, record, columns, limits)


def fetch(
    shard: InputShard,
    columns: Columns,
    wanted: Sequence[tuple[str, int | None]],
    store: Store,
    limits: ReadLimits,
) -> Iterator[tuple[str, bytes]]:
    """The image bytes of the rows wanted, by ascending row number."""
    numbers = sorted({int(member) for member, _ in wanted})
    with _opened(shard, store, limits) as (file, schema):
        image, _ = mapping(shard, schema, columns)
        if image is None:
            raise InputError(f"{shard} holds no pictures")
        if numbers and numbers[-1] >= file.metadata.num_rows:
            raise shard.changed(str(numbers[-1]))
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            here = [number for number in numbers if first <= number < first + rows]
            if here:
                yield from _fetch_group(shard, file, store, (group, first, image), here, limits)
            first += rows


def _fetch_group(
    shard: InputShard,
    file: pq.ParquetFile,
    store: Store,
    place: tuple[int, int, str],
    numbers: list[int],
    limits: ReadLimits,
) -> Iterator[tuple[str, bytes]]:
    group, at, image = place
    left = iter(numbers)
    number: int | None = next(left)
    for batch in _group(shard, file, store, group, [image]):
        cells = batch.column(image)
        while number is not None and number < at + batch.num_rows:
            try:
                yield str(number), _image(cells[number - at], limits)
            except RowError as error:
                raise shard.changed(str(number)) from error
            number = next(left, None)
        if number is None:
            return
        at += batch.num_rows


@contextmanager
def _opened(
    shard: InputShard, store: Store, limits: ReadLimits
) -> Iterator[tuple[pq.ParquetFile, pa.Schema]]:
    with store.open(shard.path) as raw:
        with _damage(shard, store):
            file = pq.ParquetFile(
                raw,
                buffer_size=MIB,  # stream the pages; a column chunk is never held whole
                pre_buffer=False,
                page_checksum_verification=True,
                thrift_string_size_limit=64 * MIB,
                thrift_container_size_limit=1_000_000,
            )
            schema = file.schema_arrow
        if file.metadata.num_rows > limits.rows:
            raise ShardError(
                f"{shard} announces {file.metadata.num_rows} rows, more than {limits.rows}; split it"
            )
        yield file, schema


@contextmanager
def _damage(shard: InputShard, store: Store) -> Iterator[None]:
    """Tell damage in the file (Arrow's errors, which carry no errno) from trouble with the store."""
    try:
        with store.reading(shard.path):
            try:
                yield
            except OSError as error:
                if error.errno:
                    raise
                raise ShardError(_broken(shard, error)) from error
    except (pa.ArrowException, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ShardError(_broken(shard, error)) from error


def _broken(shard: InputShard, error: Exception) -> str:
    first_line = (str(error).splitlines() or [type(error).__name__])[0].encode("ascii", "replace").decode()
    return f"{shard} is no sound Parquet file ({first_line[:160]}); write it again, or leave it out"


def _batches(
    shard: InputShard, file: pq.ParquetFile, store: Store, names: list[str], start: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of its first row, batch) from row `start` on; whole row groups before it are skipped."""
    first = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first + rows > start:
            at = first
            for batch in _group(shard, file, store, group, names):
                skip = min(max(start - at, 0), batch.num_rows)
                if skip < batch.num_rows:
                    yield at + skip, batch.slice(skip)
                at += batch.num_rows
            if at != first + rows:
                raise ShardError(
                    _broken(shard, ValueError(f"row group {group} has {at - first} rows of {rows}"))
                )
        first += rows


def _group(
    shard: InputShard, file: pq.ParquetFile, store: Store, group: int, names: list[str]
) -> Iterator[pa.RecordBatch]:
    meta = file.metadata.row_group(group)
    with _damage(shard, store):
        rows = min(max(_BATCH_BYTES * max(meta.num_rows, 1) // max(meta.total_byte_size, 1), 1), _BATCH_ROWS)
        batches: Any = file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False)
    while True:
        with _damage(shard, store):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _records(batch: pa.RecordBatch) -> list[dict[str, object]]:
    """The rows as dicts; text as bytes, since it may be no UTF-8."""
    arrays = [_plain(column) for column in batch.columns]
    values = [array.to_pylist() for array in arrays]
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*values, strict=True)]


def _plain(array: Any) -> Any:
    """Text as bytes (no copy); numbers and booleans as they are; all else (times, lists) as nulls."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_string(kind):
        return array.cast(pa.binary())
    if pa.types.is_large_string(kind):
        return array.cast(pa.large_binary())
    if pa.types.is_string_view(kind):
        return array.cast(pa.binary_view())
    if is_bytes(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return array
    return pa.nulls(len(array))


def _row(number: int, cell: Any, record: dict[str, object], columns: Columns, limits: ReadLimits) -> RawRow:
    fields = fields_of(record, columns)
    image, error = None, fields.error
    try:
        image = _image(cell, limits) if cell is not None else None
        if fields.caption is not None and len(fields.caption) > limits.text_bytes:
            raise RowError(
                "too_large", f"the caption has {len(fields.caption)} bytes, more than {limits.text_bytes}"
            )
    except RowError as failure:
        error = failure
    caption = fields.caption if fields.caption is None or len(fields.caption) <= limits.text_bytes else None
    return RawRow(str(number), image, caption, fields.url, None, fields.extra, error)


def _image(cell: Any, limits: ReadLimits) -> bytes:
    """The bytes in an image cell; RowError if there are none, or too many."""
    if pa.types.is_struct(cell.type):
        cell = cell["bytes"] if cell.is_valid else cell
    elif is_list(cell.type) and not pa.types.is_integer(cell.type.value_type):
        if cell.is_valid and len(cell.values) > 1:
            raise RowError("bad_row", f"the row has {len(cell.values)} pictures, not one")
        if cell.is_valid and len(cell.values) == 1:
            return _image(cell.values[0], limits)
        raise RowError("no_image")
    if not cell.is_valid:
        raise RowError("no_image")
    numbers = is_list(cell.type)
    size = len(cell.values) if numbers else len(cell.as_buffer())
    if size > limits.image_bytes:
        raise RowError("too_large", f"the picture has {size} bytes, more than {limits.image_bytes}")
    if not numbers:
        return bytes(cell.as_py())
    if cell.values.null_count:
        raise RowError("bad_row", "the picture's list of bytes has gaps")
    return bytes(pc.cast(cell.values, pa.uint8(), safe=False).to_numpy(zero_copy_only=False))
