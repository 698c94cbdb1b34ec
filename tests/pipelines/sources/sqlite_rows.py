"""A kind of source that tests add: rows of SQLite files, as whoever adds a kind would write it."""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice

from pipelines.files import Store, local_path
from pipelines.sources import InputShard, Ledger
from pipelines.sources.columns import Columns, ReadLimits
from schemas.row import RawRow


def read(
    shard: InputShard,
    columns: Columns,
    store: Store,
    start: int,
    limits: ReadLimits,
    ledgers: list[Ledger] | None = None,
) -> Iterator[RawRow]:
    """Yields the rows of the table `pairs` from number `start` on."""
    for name, caption, image in islice(_rows(shard), start, None):
        yield RawRow(name, image, caption.encode())


def fetch(
    shard: InputShard,
    columns: Columns,
    wanted: Sequence[tuple[str, int | None]],
    store: Store,
    limits: ReadLimits,
) -> Iterator[tuple[str, bytes]]:
    """Yields the images of the rows wanted."""
    images = {name: image for name, _, image in _rows(shard)}
    return ((name, images[name]) for name, _ in wanted)


def head(shard: InputShard, store: Store, limits: ReadLimits, rows: int) -> list[dict[str, object]]:
    """Returns the first rows."""
    return [dict(zip(("name", "caption", "image"), row, strict=True)) for row in islice(_rows(shard), rows)]


def _rows(shard: InputShard) -> Iterator[tuple[str, str, bytes]]:
    connection = sqlite3.connect(local_path(shard.path))
    try:
        yield from connection.execute("SELECT name, caption, image FROM pairs ORDER BY name")
    finally:
        connection.close()
