"""Sources of URLs: the raw shards that phase fetch made, with a row for every URL of the list, fetched or not."""

import json
import posixpath
from collections.abc import Callable, Container, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.fetch.statuses import BAD_ROW, DROPPED, OK
from pipelines.files import Store, join
from pipelines.parquet import read_table, write_tables
from pipelines.sources import webdataset
from pipelines.sources.rendered import overwrite
from pipelines.sources.shard import Discovery, InputShard, Reading
from schemas.errors import RowError, ShardError
from schemas.parquet import opened
from schemas.row import RawRow

if TYPE_CHECKING:
    from pipelines.layout import Layout
    from pipelines.recipe.model import Source

fetch = webdataset.fetch
head = webdataset.head

_REASON: Final = "fetch"
_OWN: Final = "\0fetch"
_MADE: Final = b"made"
_TEXTS: Final = ("url", "caption", "final_url", "extra", "detail", "error")
"""The columns of a status, or of a list, that are blanked where a row is taken out; a rule's name in `detail` stays."""


def status_path(tar: str) -> str:
    """Returns the path of the statuses that belong to a raw shard."""
    folder, name = posixpath.split(tar)
    return join(folder, "status", f"{name.removesuffix('.tar')}.parquet")


def sizes(width: object, height: object) -> dict[str, object]:
    """Returns the signals that follow from an image's size as a list gives it; none where it gives none."""
    if not isinstance(width, int) or not isinstance(height, int):
        return {}
    return {"width": width, "height": height, "aspect_ratio": max(width, height) / min(width, height)}


def discover(source: "Source", store: Store) -> Discovery:
    """Returns no shards: phase fetch makes them."""
    return Discovery(())


def identity(shard: InputShard, source: "Source", store: Store) -> str:
    """Returns what changes when the images or the statuses do, but not when removed rows are taken out of them."""
    return as_made(store, status_path(shard.path)) or _identity(store, shard.path)


def _identity(store: Store, tar: str) -> str:
    return f"{store.identity(tar)} {store.identity(status_path(tar))}"


def as_made(store: Store, path: str) -> str | None:
    """Returns the identity that a Parquet file had before rows were taken out of it; None where none were."""
    with store.open(path) as file:
        made = (opened(file).schema_arrow.metadata or {}).get(_MADE)
    return None if made is None else made.decode()


def read(reading: Reading, start: int) -> Iterator[RawRow]:
    """Yields a row for each URL of the list from number `start` on, without an image where there is none."""
    with (
        reading.store.open(status_path(reading.shard.path)) as statuses,
        reading.store.open(reading.shard.path) as tar,
    ):
        for facts in islice(_rows(opened(statuses)), start, None):
            image = None
            if facts["status"] == OK and facts["url"] is not None:  # without one the row was taken out
                tar.seek(facts["offset"])
                image = tar.read(facts["size"])
                if len(image) != facts["size"]:
                    raise ShardError(f"{reading.shard} ends before its images do; remove it and fetch again")
            yield _row(facts, image)


def _rows(file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(1024, use_threads=False):
        yield from batch.to_pylist()


def _row(facts: dict[str, Any], image: bytes | None) -> RawRow:
    extra = json.loads(facts["extra"]) if facts["extra"] else {}
    own = [facts["status"], facts["detail"], facts["width"], facts["height"]]
    error = RowError("bad_row", facts["detail"]) if facts["status"] == BAD_ROW else None
    return RawRow(
        facts["key"],
        image,
        facts["caption"],
        facts["url"],
        facts["offset"],
        {**extra, _OWN: own},
        error,
        text=image is None,
    )


def describe(row: RawRow, record: dict[str, Any]) -> None:
    """Adds to a row's record why it has no image: the status of its URL, or nothing but what its list says of it.

    A row that fell by its list's columns falls by them again.
    """
    status, detail, width, height = row.extra.pop(_OWN)  # type: ignore[misc]
    record["extra"] = json.dumps(row.extra, sort_keys=True, ensure_ascii=False) if row.extra else None
    if status == DROPPED:
        record |= sizes(width, height)
        if detail in ("clip", "unscored"):  # select knows these of scores alone
            record["refusal"] = detail
    elif status not in (OK, BAD_ROW):
        record["refusal"] = f"{_REASON}.{status}"
        record["refusal_text"] = detail


def hide(layout: "Layout", source: str, shard: str, members: Container[str]) -> None:
    """Takes rows out of a raw shard: their texts out of the statuses, then their members of the tar, which get zeros.

    Every offset stays, and so do statuses, digests and sizes.
    """
    tar = layout.path("fetched", source, shard)
    path = status_path(tar)
    table = read_table(layout, path)
    gone = [key in members for key in table["key"].to_pylist()]
    blank(layout, path, table, gone, lambda: _identity(layout.store, tar))
    overwrite(layout, tar, lambda one: one.name.partition(".")[0] in members, lambda one: bytes(one.size))


def blank(
    layout: "Layout", path: str, table: pa.Table, gone: list[bool], identity: Callable[[], str]
) -> None:
    """Takes the texts of rows out of a table of statuses or a list; `identity` is what it had before the first."""
    rows, blanked = pa.array(gone, pa.bool_()), table
    for at, column in enumerate(table.schema):
        if column.name in _TEXTS:
            where = rows
            if column.name == "detail":
                where = pc.and_(rows, pc.not_equal(table["status"], DROPPED))
            values = pc.if_else(where, pa.scalar(None, column.type), table[column.name])
            blanked = blanked.set_column(at, column, values)
    if not blanked.equals(table):
        metadata = table.schema.metadata or {}
        schema = table.schema.with_metadata({_MADE: identity(), **metadata})
        write_tables(layout, path, schema, [blanked.cast(schema)])
