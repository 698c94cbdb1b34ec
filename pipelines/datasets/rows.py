"""Records of JSON, or of the same in Parquet, as the Hugging Face Hub has them."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, BinaryIO, Final

import pyarrow as pa

from pipelines.datasets.dataset import Files, Record
from pipelines.datasets.reasons import Refusal
from pipelines.datasets.records import MAX_RECORD, FileError, entries_or_lines
from schemas.parquet import opened

_MAGIC: Final = b"PAR1"
_BATCH: Final = 256


def rows(*fields: str) -> Callable[[Files], Iterator[Record]]:
    """Returns a reader of one record a row of Parquet, or of JSON as `entries_or_lines` reads it."""
    of_json = entries_or_lines(*fields)

    def read(files: Files) -> Iterator[Record]:
        file = files["records"]
        return _table(file) if is_parquet(file) else of_json(files)

    return read


def columns_of(file: BinaryIO) -> list[str]:
    """Returns the names of the columns of a file of Parquet; none where it cannot be read."""
    try:
        names: list[str] = opened(file).schema_arrow.names
    except (pa.ArrowException, OSError):  # what is wrong with it is said where its rows are read
        return []
    return names


def is_parquet(file: BinaryIO) -> bool:
    """Returns whether the file begins as Parquet does, and goes back to where it was."""
    place = file.tell()
    start = file.read(len(_MAGIC))
    file.seek(place)
    return start == _MAGIC


def _table(file: BinaryIO) -> Iterator[Record]:
    try:
        batches = opened(file).iter_batches(_BATCH)
        values = chain.from_iterable(map(_values, batches))
        for number, value in enumerate(values):
            yield _record(str(number), value)
    except (pa.ArrowException, OSError) as error:
        what = " ".join(str(error).split())[:200]
        raise FileError("records", f"cannot be read as Parquet: {what}", "fetch it again") from error


def _values(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = batch.to_pylist()
    return found


def _record(member: str, value: dict[str, Any]) -> Record:
    size = sum(len(one) for one in value.values() if isinstance(one, str | bytes | list))
    if size > MAX_RECORD:
        return Record(member, {}, Refusal("too_large", f"a row of {size} characters"))
    return Record(member, {name: one for name, one in value.items() if one is not None})
