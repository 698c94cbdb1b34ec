"""The rows of an input shard, its pictures one by one, and what changes when it does."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from pipelines.files import Store
from pipelines.sources import folder, parquet, text, webdataset
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.ledger import Ledger
from pipelines.sources.shard import InputShard
from schemas.errors import InputError
from schemas.row import RawRow

_LIMITS: Final = ReadLimits()


def read(
    shard: InputShard,
    columns: Columns,
    storage_options: Mapping[str, Any] | None = None,
    start: int = 0,
    limits: ReadLimits = _LIMITS,
    ledgers: list[Ledger] | None = None,
) -> Iterator[RawRow]:
    """The shard's rows in their order, from number `start` on, one at a time; a tar's ledger into `ledgers`.

    A row that is not whole carries its RowError. Raises ShardError after the last sound row of a
    damaged shard; InputError where a column is missing or the store fails; OutputError where a
    temporary copy finds no room.
    """
    reader = _reader(shard)
    store = Store(storage_options, shard.source)
    if reader is webdataset:
        yield from webdataset.read(shard, columns, store, start, limits, ledgers)
        return
    rows: Iterator[RawRow] = reader.read(shard, columns, store, start, limits)
    yield from rows


def fetch(
    shard: InputShard,
    columns: Columns,
    wanted: Sequence[tuple[str, int | None]],
    storage_options: Mapping[str, Any] | None = None,
    limits: ReadLimits = _LIMITS,
    digests: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """(member, image bytes) of the members wanted, as `read` gave them, given with their offsets.

    The order is that of `wanted` in tars, the shard's own elsewhere. ShardError where an image is no longer there;
    ChangedError where `digests` has another SHA-256 for it. Seeks by offset where all are given.
    """
    if not wanted:
        return
    reader = _reader(shard)
    if reader is text or shard.kind == "text":
        raise InputError(f"{shard} holds no pictures")
    store = Store(storage_options, shard.source)
    images: Iterator[tuple[str, bytes]] = reader.fetch(shard, columns, wanted, store, limits)
    for member, data in images:
        if digests is not None and hashlib.sha256(data).hexdigest() != digests[member]:
            raise shard.changed(member)
        yield member, data


def head(
    shard: InputShard,
    rows: int,
    storage_options: Mapping[str, Any] | None = None,
    limits: ReadLimits = _LIMITS,
) -> list[dict[str, object]]:
    """Returns the first rows with all that is stored of them, by column: what a recipe can name."""
    found: list[dict[str, object]] = _reader(shard).head(
        shard, Store(storage_options, shard.source), limits, rows
    )
    return found


def column_names(
    shard: InputShard,
    columns: Columns,
    storage_options: Mapping[str, Any] | None = None,
    limits: ReadLimits = _LIMITS,
) -> list[str] | None:
    """The columns of a Parquet, CSV, TSV or JSONL file (there, of its first records); None for what has none."""
    store = Store(storage_options, shard.source)
    if shard.format == "parquet":
        return parquet.names(shard, store, limits)
    if shard.format in ("jsonl", "csv", "tsv"):
        return text.names(shard, columns, store, limits)
    return None


def identity(shard: InputShard, storage_options: Mapping[str, Any] | None = None) -> str:
    """What changes when anything that `read` reads does: of one file, or of all files of a folder."""
    store = Store(storage_options, shard.source)
    if shard.kind != "folder":
        return store.identity(shard.path)
    top = shard.path if shard.format == "files" else shard.path.rpartition("/")[0] or "."
    digest = hashlib.sha256()
    for info in store.list_files(top):
        if info.size >= 0 and (shard.format != "files" or "/" not in info.name):
            digest.update(f"{info.name}\0{store.identity(info.path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _reader(shard: InputShard) -> ModuleType:
    if shard.format == "parquet":
        return parquet
    if shard.kind == "text":
        return text
    return webdataset if shard.format == "tar" else folder
