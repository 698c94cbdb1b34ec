"""A kind of source that tests add: rows of SQLite files, as whoever adds a kind would write it."""

import sqlite3
from collections.abc import Iterator
from itertools import islice

from pipelines.files import local_path
from pipelines.sources.shard import Reading, Wanted
from schemas.row import RawRow


def read(reading: Reading, start: int) -> Iterator[RawRow]:
    """Yields the rows of the table `pairs` from number `start` on."""
    for name, caption, image in islice(_rows(reading), start, None):
        yield RawRow(name, image, caption.encode())


def fetch(reading: Reading, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Yields the images of the rows wanted."""
    images = {name: image for name, _, image in _rows(reading)}
    return ((name, images[name]) for name, _ in wanted)


def head(reading: Reading, rows: int) -> list[dict[str, object]]:
    """Returns the first rows."""
    return [dict(zip(("name", "caption", "image"), row, strict=True)) for row in islice(_rows(reading), rows)]


def _rows(reading: Reading) -> Iterator[tuple[str, str, bytes]]:
    connection = sqlite3.connect(local_path(reading.shard.path))
    try:
        yield from connection.execute("SELECT name, caption, image FROM pairs ORDER BY name")
    finally:
        connection.close()
