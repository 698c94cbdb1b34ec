"""Text that pages are set from: text files in any usual encoding, or the captions of a corpus's shards."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.files import Store
from pipelines.page_files import files, is_tar, members, part
from pipelines.paths import FileInfo
from pipelines.store_failures import shown
from schemas.errors import InputError
from schemas.sample import Sample, Text
from schemas.strict import FieldError

LARGEST: Final = 64 << 20
"""Bytes of all text together: it is held in memory."""
_RECORD: Final = 1 << 20
_SUFFIXES: Final = (".txt", ".md", ".parquet", ".tar")
_CAPTIONS: Final = ("caption", "text", "TEXT")


def texts(store: Store, paths: Sequence[str], language: str) -> tuple[str, ...]:
    """The passages of all `paths` (files, folders, globs). Raises InputError, which names the file.

    A tar or a Parquet file is a shard: raw, with captions in `.txt`, `.json` or a column, or one of a
    corpus, with samples. Anything else is a text file.
    """
    from synth.text import passages

    found: list[str] = []
    size = 0
    for info in (one for path in paths for one in _files(store, path)):
        before = len(found)
        for text in _texts(store, info, language):
            size += len(text)
            if size > LARGEST:
                raise InputError(
                    f"source {store.source}: the texts hold more than {LARGEST:,} characters; give fewer"
                )
            found += passages([text])
        if len(found) == before:
            raise InputError(f"source {store.source}: there is no text in {shown(info.path)}")
    return tuple(found)


def _files(store: Store, path: str) -> list[FileInfo]:
    """The file named, or those of a folder or glob that hold text; of a shard and its index only the index."""
    found = files(store, path)
    if [info.path for info in found] == [path]:
        return list(found)
    indexes = {info.path.removesuffix(".parquet") for info in found if info.path.endswith(".parquet")}
    kept = [
        info
        for info in found
        if info.name.lower().endswith(_SUFFIXES) and info.path.removesuffix(".tar") not in indexes
    ]
    if not kept:
        raise InputError(f"source {store.source}: no text ({', '.join(_SUFFIXES)}) in {shown(path)}")
    return kept


def _texts(store: Store, info: FileInfo, language: str) -> Iterator[str]:
    if is_tar(info):
        yield from _of_tar(store, info)
    elif info.name.lower().endswith(".parquet"):
        yield from _of_parquet(store, info)
    else:
        yield _of_file(store, info, language)


def _of_file(store: Store, info: FileInfo, language: str) -> str:
    from synth.encodings import decode

    if info.size > LARGEST:
        raise InputError(f"source {store.source}: {shown(info.path)} is larger than {LARGEST:,} bytes")
    try:
        return decode(store.read_bytes(info.path, LARGEST), language)
    except InputError as error:
        raise InputError(f"source {store.source}: {shown(info.path)}: {error}") from error


def _of_tar(store: Store, info: FileInfo) -> Iterator[str]:
    for one in members(store, info):
        if one.size > _RECORD or not one.name.lower().endswith((".txt", ".json")):
            continue
        data = part(store, info.path, one)
        if one.name.lower().endswith(".txt"):
            yield data.decode("utf-8", "ignore")
        else:
            yield from _of_record(data)


def _of_record(data: bytes) -> Iterator[str]:
    """The caption of a raw row, or what a sample of a corpus says; a row without any says nothing."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(record, dict) and "turns" in record:
        yield from _said(data)
    elif isinstance(record, dict):
        yield from (record[name] for name in _CAPTIONS if isinstance(record.get(name), str))


def _said(sample: bytes | str) -> Iterator[str]:
    try:
        turns = Sample.from_json(sample).turns
    except FieldError:
        return
    yield from (one.text for turn in turns for one in turn.segments if isinstance(one, Text))


def _of_parquet(store: Store, info: FileInfo) -> Iterator[str]:
    try:
        with store.reading(info.path), store.open(info.path) as file:
            table = pq.ParquetFile(file)
            names = [name for name in ("sample", *_CAPTIONS) if name in table.schema_arrow.names]
            if not names:
                raise InputError(
                    f"source {store.source}: {shown(info.path)} has none of the columns sample, "
                    + ", ".join(_CAPTIONS)
                )
            for batch in table.iter_batches(1024, columns=names[:1]):
                yield from _of_column(batch.column(0), names[0])
    except pa.ArrowException as error:
        raise InputError(f"source {store.source}: {shown(info.path)} is no sound Parquet file") from error


def _of_column(column: Any, name: str) -> Iterator[str]:
    for value in column.to_pylist():
        if isinstance(value, str):
            yield from _said(value) if name == "sample" else (value,)
