"""Rows of a Parquet file, streamed by record batches of bounded size; a row's member is its number.

A record whose caption is a list is a row for each caption: the first has the record's number, the others
`NUMBER#2`, `NUMBER#3`, …
"""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.files import MIB
from pipelines.sources.columns import ReadLimits
from pipelines.sources.parquet_columns import EMBED, WRITTEN, Mapped, carried, is_list, is_ours, mapping
from pipelines.sources.records import fields_of
from pipelines.sources.shard import InputShard, Reading, Wanted, check_written
from schemas.errors import RowError, ShardError
from schemas.parquet import opened
from schemas.row import RawImage, RawRow
from schemas.sample import Sample
from schemas.strict import FieldError

_BATCH_BYTES: Final = 4 * MIB
_BATCH_ROWS: Final = 1024
_MOST_CAPTIONS: Final = 1000


def read(reading: Reading, start: int, images: bool = True) -> Iterator[RawRow]:
    """The rows from number `start` on, as text without `images`; ShardError where the file cannot be read on."""
    with _opened(reading) as (file, schema):
        first, stop, held = reading.shard.rows or (0, file.metadata.num_rows, file.metadata.num_rows)
        if held != file.metadata.num_rows:
            raise reading.shard.cut_anew()
        mapped = mapping(reading, schema, images)
        if mapped.has_lists:  # how many rows a record is stands in the record
            rows = _rows(reading, file, mapped, (first, stop))
            yield from islice(rows, start, None)
        else:
            yield from _rows(reading, file, mapped, (first + start, stop))


def groups(reading: Reading) -> list[tuple[int, int]]:
    """Returns the rows and the bytes of each row group; ShardError where the file cannot be read."""
    with _opened(reading) as (file, _):
        meta = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        return [(group.num_rows, group.total_byte_size) for group in meta]


def _rows(
    reading: Reading, file: pq.ParquetFile, mapped: Mapped, numbers: tuple[int, int]
) -> Iterator[RawRow]:
    """The rows of the records from one number on up to another one."""
    for number, batch in _batches(reading, file, mapped.all, numbers):
        cells = batch.column(mapped.image) if mapped.image is not None else None
        if cells is not None and is_ours(file.schema_arrow):  # a sample of ours that has no image is text
            cells = [
                cell if cell.is_valid and (not is_list(cell.type) or len(cell)) else None for cell in cells
            ]
        others = [*mapped.others]
        records = _records(batch.select(others)) if others else [{}] * batch.num_rows
        for i, record in enumerate(records):
            yield from _rows_of(number + i, cells[i] if cells is not None else None, record, reading)


def fetch(reading: Reading, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """The image bytes of the rows wanted, by ascending row number."""
    members: dict[int, dict[str, int]] = {}
    for name, _ in wanted:
        member, _, number_of_image = name.partition("\0")
        members.setdefault(int(member.partition("#")[0]), {})[name] = int(number_of_image or 0)
    numbers = deque(sorted(members))
    with _opened(reading) as (file, schema):
        image = mapping(reading, schema).image
        assert image is not None, "images were asked for"
        if numbers and numbers[-1] >= file.metadata.num_rows:
            raise reading.shard.changed(str(numbers[-1]))
        end = 0
        for group in range(file.num_row_groups):
            at, end = end, end + file.metadata.row_group(group).num_rows
            batches = _group(reading, file, group, [image])
            while numbers and numbers[0] < end and (batch := next(batches, None)) is not None:
                cells = batch.column(image)
                while numbers and numbers[0] < at + batch.num_rows:
                    number = numbers.popleft()
                    found = _cells(cells[number - at])
                    for name, place in members[number].items():
                        try:
                            data = _image(found[place], reading.limits)
                        except (RowError, IndexError) as error:
                            raise reading.shard.changed(name) from error
                        yield name, data
                at += batch.num_rows


def head(reading: Reading, rows: int) -> list[dict[str, object]]:
    """Returns the first rows as stored, text as bytes; of columns that share a name, which nobody can read, none.

    The type of a column stands for values that are too large, or that Python cannot have.
    """
    with _opened(reading) as (file, schema):
        times = Counter(schema.names)
        names = [name for name in schema.names if times[name] == 1]
        large = _too_large(file.metadata, names, reading.limits)
        types = {name: schema.field(name).type for name in large}
        for _, batch in _batches(reading, file, [name for name in names if name not in large], (0, rows)):
            first = batch.slice(0, rows)
            values = {name: _stored(first.column(name)) for name in first.schema.names}
            return [
                {name: types.get(name) or values[name][row] for name in names}
                for row in range(first.num_rows)
            ]
    return []


def _too_large(metadata: pq.FileMetaData, names: list[str], limits: ReadLimits) -> set[str]:
    """The columns whose values are on average above the limit of an image, as the first row group says."""
    if not metadata.num_row_groups:
        return set()
    group = metadata.row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    large = [
        f"{chunk.path_in_schema}."
        for chunk in chunks
        if chunk.total_uncompressed_size > limits.image_bytes * max(chunk.num_values, 1)
    ]
    return {name for name in names if any(path.startswith(f"{name}.") for path in large)}


def _stored(array: Any) -> list[Any]:
    flat = _plain(array)
    try:
        return list((array if flat.null_count == len(flat) else flat).to_pylist())
    except (pa.ArrowException, ValueError, OverflowError):
        return [array.type] * len(array)


def names(reading: Reading) -> list[str]:
    """The names of the file's columns."""
    with _opened(reading) as (_, schema):
        return list(schema.names)


@contextmanager
def _opened(reading: Reading) -> Iterator[tuple[pq.ParquetFile, pa.Schema]]:
    with reading.store.open(reading.shard.path) as raw:
        with _damage(reading):
            file = opened(
                raw,
                buffer_size=MIB,  # stream the pages; a column chunk is never held whole
                pre_buffer=False,
                thrift_string_size_limit=64 * MIB,
                thrift_container_size_limit=1_000_000,
            )
            schema = file.schema_arrow
        if file.metadata.num_rows > reading.limits.rows:
            raise ShardError(
                f"{reading.shard} announces {file.metadata.num_rows} rows, more than {reading.limits.rows}; split it"
            )
        yield file, schema


@contextmanager
def _damage(reading: Reading) -> Iterator[None]:
    """Tell damage in the file (Arrow's errors, which carry no errno) from trouble with the store."""
    try:
        with reading.store.reading(reading.shard.path):
            try:
                yield
            except OSError as error:
                if error.errno:
                    raise
                raise ShardError(_broken(reading.shard, error)) from error
    except (pa.ArrowException, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ShardError(_broken(reading.shard, error)) from error


def _broken(shard: InputShard, error: Exception) -> str:
    first_line = (str(error).splitlines() or [type(error).__name__])[0].encode("ascii", "replace").decode()
    return f"{shard} is no sound Parquet file ({first_line[:160]}); write it again, or leave it out"


def _batches(
    reading: Reading, file: pq.ParquetFile, wanted: list[str], numbers: tuple[int, int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of its first row, batch) of a range of rows; whole row groups outside of it are skipped."""
    start, stop = numbers
    first = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first + rows > start and first < stop:
            at = first
            for batch in _group(reading, file, group, wanted):
                skip, end = max(start - at, 0), min(stop - at, batch.num_rows)
                if skip < end:
                    yield at + skip, batch.slice(skip, end - skip)
                at += batch.num_rows
                if at >= stop:
                    break
            if at < min(stop, first + rows):
                raise ShardError(
                    _broken(reading.shard, ValueError(f"row group {group} has {at - first} rows of {rows}"))
                )
        first += rows


def _group(reading: Reading, file: pq.ParquetFile, group: int, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    meta = file.metadata.row_group(group)
    with _damage(reading):
        rows = min(max(_BATCH_BYTES * max(meta.num_rows, 1) // max(meta.total_byte_size, 1), 1), _BATCH_ROWS)
        batches: Any = file.iter_batches(rows, row_groups=[group], columns=wanted, use_threads=False)
    while True:
        with _damage(reading):
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
    """Text as bytes, times as text, numbers and booleans as they are; what cannot be carried as nulls."""
    kind = carried(array.type)
    if kind is None:
        return pa.nulls(len(array))
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array if kind == array.type else array.cast(kind)


def _rows_of(number: int, cell: Any, record: dict[str, object], reading: Reading) -> Iterator[RawRow]:
    """The row of a record, or one for each of its captions."""
    name = next((name for name in reading.columns.names("caption") if record.get(name) is not None), "")
    texts = record.get(name)
    if not isinstance(texts, list):
        yield _row(str(number), cell, record, reading)
        return
    if len(texts) > _MOST_CAPTIONS:
        error = RowError("bad_row", f"the record has {len(texts)} captions, more than {_MOST_CAPTIONS}")
        yield RawRow(str(number), None, None, error=error)
        return
    for place, text in enumerate([text for text in texts if text is not None] or [None], 1):
        member = str(number) if place == 1 else f"{number}#{place}"
        yield _row(member, cell, {**record, name: text}, reading)


def _row(member: str, cell: Any, record: dict[str, object], reading: Reading) -> RawRow:
    fields = fields_of(record, reading.columns)
    images: list[bytes] = []
    written, error = None, fields.error
    try:
        if cell is not None:
            images = reading.images(_cells(cell), lambda one: _image(one, reading.limits))
        if len(images) > 1 and isinstance(line := record.get(WRITTEN), bytes):
            written = check_written(Sample.from_json(line), len(images))
        if fields.caption is not None and len(fields.caption) > reading.limits.text_bytes:
            raise RowError(
                "too_large",
                f"the caption has {len(fields.caption)} bytes, more than {reading.limits.text_bytes}",
            )
    except FieldError as failure:
        error = RowError("bad_row", f"the column {WRITTEN} holds no sample: {failure}")
    except RowError as failure:
        error = failure
    caption = (
        fields.caption if fields.caption is None or len(fields.caption) <= reading.limits.text_bytes else None
    )
    return RawRow(
        member,
        images[0] if images else None,
        caption,
        fields.url,
        None,
        fields.extra,
        error,
        text=cell is None,
        further=tuple(map(RawImage, images[1:])),
        written=written,
    )


def _cells(cell: Any) -> Any:
    """The images in a cell, as a sequence: those of a list, else the cell itself."""
    several = is_list(cell.type) and not pa.types.is_integer(cell.type.value_type)
    return cell.values if several and cell.is_valid and len(cell.values) else [cell]


def _image(cell: Any, limits: ReadLimits) -> bytes:
    """The bytes in an image cell; RowError if there are none, or too many."""
    if pa.types.is_struct(cell.type):
        if cell.is_valid and not cell["bytes"].is_valid and _has_path(cell):
            raise RowError("no_image", f"the row has an image's path and not its bytes; {EMBED}")
        cell = cell["bytes"] if cell.is_valid else cell
    elif is_list(cell.type) and not pa.types.is_integer(cell.type.value_type):
        raise RowError("no_image")
    if not cell.is_valid:
        raise RowError("no_image")
    numbers = is_list(cell.type)
    size = len(cell.values) if numbers else len(cell.as_buffer())
    if size > limits.image_bytes:
        raise RowError("too_large", f"the image has {size} bytes, more than {limits.image_bytes}")
    if not numbers:
        return bytes(cell.as_py())
    if cell.values.null_count:
        raise RowError("bad_row", "the image's list of bytes has gaps")
    return bytes(pc.cast(cell.values, pa.uint8(), safe=False).to_numpy(zero_copy_only=False))


def _has_path(cell: Any) -> bool:
    return cell.type.get_field_index("path") >= 0 and bool(cell["path"].is_valid)
