"""The rows of an input shard, its images one by one, and what changes when it does."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from pipelines.files import OF_PROCESS, Digests, FileInfo, Store
from pipelines.sources import parquet, text
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.ledger import Ledger
from pipelines.sources.shard import InputShard, Reading, Wanted
from pipelines.sources.table import KINDS, Reader
from schemas.row import RawRow

if TYPE_CHECKING:
    from pipelines.layout import Layout
    from pipelines.recipe.model import Source

_LIMITS: Final = ReadLimits()
Options = Mapping[str, Any] | None
"""Storage options of fsspec."""


def read(
    shard: InputShard,
    columns: Columns,
    storage_options: Options = None,
    start: int = 0,
    limits: ReadLimits = _LIMITS,
    ledgers: list[Ledger] | None = None,
    several: bool = False,
) -> Iterator[RawRow]:
    """The shard's rows in their order, from number `start` on, one at a time; a tar's ledger into `ledgers`.

    `several`: a record of several images is one row of them all, not the RowError `several_images`.
    A row that is not whole carries its RowError. Raises ShardError after the last sound row of a
    damaged shard; InputError where a column is missing or the store fails; OutputError where a
    temporary copy finds no room.
    """
    reading = Reading(shard, Store(storage_options, shard.source), columns, limits, ledgers, several)
    yield from _reader(shard).read(reading, start)


def fetch(
    shard: InputShard,
    columns: Columns,
    wanted: Wanted,
    storage_options: Options = None,
    limits: ReadLimits = _LIMITS,
    digests: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """(member, image bytes) of the members wanted, as `read` gave them, given with their offsets.

    The order is that of `wanted` in tars, the shard's own elsewhere. ShardError where an image is no longer there;
    ChangedError where `digests` has another SHA-256 for it. Seeks by offset where all are given.
    """
    if not wanted:
        return
    reading = Reading(shard, Store(storage_options, shard.source), columns, limits)
    for member, data in _reader(shard).fetch(reading, wanted):
        if digests is not None and hashlib.sha256(data).hexdigest() != digests[member]:
            raise shard.changed(member)
        yield member, data


def head(
    shard: InputShard, rows: int, storage_options: Options = None, limits: ReadLimits = _LIMITS
) -> list[dict[str, object]]:
    """Returns the first rows with all that is stored of them, by column: what a recipe can name."""
    return _reader(shard).head(Reading(shard, Store(storage_options, shard.source), Columns(), limits), rows)


def column_names(
    shard: InputShard, columns: Columns, storage_options: Options = None, limits: ReadLimits = _LIMITS
) -> list[str] | None:
    """The columns of a Parquet, CSV, TSV or JSONL file (there, of its first records); None for what has none."""
    reading = Reading(shard, Store(storage_options, shard.source), columns, limits)
    if shard.format == "parquet":
        return parquet.names(reading)
    return text.names(reading) if shard.format in ("jsonl", "csv", "tsv") else None


def options_of(source: "Source", layout: "Layout") -> Options:
    """Returns the storage options with which a source's shards are read; those that the build made lie in `layout`."""
    kind = KINDS[source.kind]
    return layout.options if kind.made or kind.fetched else source.storage_options


def identity(
    shard: InputShard,
    source: "Source",
    storage_options: Options = None,
    digests: Digests = OF_PROCESS,
    info: FileInfo | None = None,
) -> str:
    """What changes when anything that `read` reads does: of one file, or of all files of a folder.

    `digests` are those of local files that are known; `info` is what a listing says of the shard's one file.
    """
    store = Store(storage_options, shard.source, digests)
    of_kind = KINDS[shard.kind].identity
    if of_kind:
        return of_kind(shard, source, store)
    return store.identity_of(info or store.info(shard.path))


def _reader(shard: InputShard) -> Reader:
    reader = KINDS[shard.kind].reader
    if reader is None:
        raise ValueError(f"shards of kind {shard.kind} have no rows of their own")
    return reader
