"""URLs that rows of several tasks share: each is downloaded once, before the tasks, and these take its answer.

The driver finds them in two passes over the lists, out of core. They become lists of their own, in the order in which
they first stand, which phase fetch downloads like any list into a hidden folder beside the raw shards. A run that is
killed goes on with the same plan; the folder goes when the source is fetched.
"""

import hashlib
import json
import tempfile
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipelines.engines.step import Json
from pipelines.fetch.address import as_asked
from pipelines.fetch.download import Downloaded
from pipelines.fetch.journal import folder_of
from pipelines.fetch.lists import LIST
from pipelines.fetch.raw import Images, Raw, rows_of
from pipelines.fetch.statuses import OK
from pipelines.files import join
from pipelines.parquet import write_tables

_MEMORY: Final = "64MB"
"""What DuckDB keeps in memory while it groups; the rest goes to disk."""
_HASHES: Final = pa.schema([("hash", pa.uint64()), ("task", pa.int32())])
_ASKED: Final = pa.schema([("url", pa.string()), ("task", pa.int32()), ("number", pa.int64())])
_SEVERAL: Final = "SELECT hash FROM hashes GROUP BY hash HAVING min(task) < max(task) ORDER BY hash"
_SHARED: Final = """
CREATE TABLE shared AS SELECT url, row_number() OVER (ORDER BY min(number)) - 1 AS place
FROM asked GROUP BY url HAVING min(task) < max(task)
"""
_OF_TASKS: Final = """
SELECT task, list(DISTINCT place // $size ORDER BY place // $size)
FROM asked JOIN shared USING (url) GROUP BY task ORDER BY task
"""

Hashes = npt.NDArray[np.uint64]


class Part(NamedTuple):
    """A list of URLs that several tasks share; its name is the digest of them."""

    name: str
    rows: int

    @property
    def shard(self) -> str:
        """The name of its one raw shard."""
        return f"{self.name}-00000"


@dataclass(frozen=True)
class Plan:
    """The parts, and which of them hold URLs of which task, by the task's number."""

    parts: tuple[Part, ...] = ()
    of_task: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def shards(self, task: int) -> list[str]:
        """Returns the raw shards with answers to URLs of a task."""
        return [self.parts[part].shard for part in dict(self.of_task).get(task, ())]


def raw_of(raw: Raw) -> Raw:
    """Returns the folder of raw shards with the answers that tasks share, beside those of the source."""
    return Raw(raw.layout, join(folder_of(raw), "repeated"))


def list_of(raw: Raw, part: Part) -> str:
    """Returns the path of a part's list; `raw` is as `raw_of` gives it."""
    return join(raw.folder, "lists", f"{part.name}.parquet")


def hashes_of(urls: Iterable[str | None]) -> Hashes:
    """Returns a number of 64 bits for each URL as it is asked, 0 for none; different URLs may share one."""
    asked = (as_asked(url).encode("utf-8", "surrogatepass") if url else b"" for url in urls)
    return np.fromiter((xxhash.xxh3_64_intdigest(url) if url else 0 for url in asked), np.uint64)


def candidates(tables: Iterable[tuple[int, pa.Table]]) -> Hashes:
    """Returns the hashes of URLs that stand in several tasks, sorted; `tables` are rows of LIST by task."""

    def batches() -> Iterator[pa.RecordBatch]:
        for task, table in tables:
            found = hashes_of(table["url"].to_pylist())
            found = found[found != 0]
            yield pa.RecordBatch.from_arrays([pa.array(found), _tasks(task, len(found))], schema=_HASHES)

    with _database() as connection:
        connection.register("hashes", pa.RecordBatchReader.from_batches(_HASHES, batches()))
        return np.asarray(connection.sql(_SEVERAL).fetchnumpy()["hash"], np.uint64)


def among(table: pa.Table, sought: Hashes) -> pa.Array:
    """Returns which rows of LIST have a URL whose hash is among those sought, which are sorted."""
    found = hashes_of(table["url"].to_pylist())
    places = np.minimum(np.searchsorted(sought, found), max(len(sought) - 1, 0))
    return pa.array((sought[places] == found) & (found != 0) if len(sought) else np.zeros(len(found), bool))


def planned(raw: Raw, asked: Iterable[tuple[int, pa.Array]], size: int) -> Plan:
    """Writes the lists of URLs that several tasks ask for, each of at most `size`; returns the plan.

    `asked` are the URLs that tasks are about to ask for, in the order of the lists.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        number = 0
        for task, given in asked:
            urls = pa.array(map(as_asked, given.to_pylist()), pa.string())
            numbers = pa.array(np.arange(number, number + len(urls)))
            number += len(urls)
            yield pa.RecordBatch.from_arrays([urls, _tasks(task, len(urls)), numbers], schema=_ASKED)

    with _database() as connection:
        connection.register("given", pa.RecordBatchReader.from_batches(_ASKED, batches()))
        connection.execute("CREATE TABLE asked AS SELECT * FROM given")
        connection.execute(_SHARED)
        parts = tuple(_written(raw, urls) for urls in _lists(connection, size))
        rows = connection.execute(_OF_TASKS, {"size": size}).fetchall()
        return Plan(parts, tuple((task, tuple(found)) for task, found in rows))


def _tasks(task: int, count: int) -> Any:
    return pa.array(np.full(count, task, np.int32))


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute("SET temp_directory = $folder", {"folder": folder})
        yield connection


def _lists(connection: duckdb.DuckDBPyConnection, size: int) -> Iterator[list[str]]:
    (count,) = connection.execute("SELECT count(*) FROM shared").fetchone() or (0,)
    for first in range(0, count, size):
        query = "SELECT url FROM shared WHERE place >= ? AND place < ? ORDER BY place"
        yield [url for (url,) in connection.execute(query, [first, first + size]).fetchall()]


def _written(raw: Raw, urls: Sequence[str]) -> Part:
    digest = hashlib.blake2b(json.dumps(urls).encode(), digest_size=16).hexdigest()
    part = Part(digest, len(urls))
    table = pa.Table.from_pylist([{"url": url} for url in urls], LIST)
    write_tables(raw.layout, list_of(raw, part), LIST, [table])
    return part


def save(raw: Raw, plan: Plan, mark: str) -> None:
    """Writes a plan down, so that a run that is killed goes on with it; `mark` is the fingerprint of the tasks."""
    text = json.dumps({"mark": mark, "parts": plan.parts, "of_task": plan.of_task})
    raw.layout.store.write_bytes(_path(raw), text.encode(), raw.layout.tmp)


def saved(raw: Raw, mark: str) -> Plan | None:
    """Returns the plan of a run of the same tasks that was killed; None where there is none."""
    store = raw.layout.store
    if not store.exists(_path(raw)):
        return None
    found: Json = json.loads(store.read_bytes(_path(raw)))
    if found["mark"] != mark:
        return None
    of_task = tuple((task, tuple(parts)) for task, parts in found["of_task"])
    return Plan(tuple(Part(*part) for part in found["parts"]), of_task)


def _path(raw: Raw) -> str:
    return join(raw.folder, "plan.json")


class Shared:
    """The answers to those URLs of a task that other tasks share; `raw` is as `raw_of` gives it.

    URLs, those of the task too (`urls`), are given as they are asked.
    """

    def __init__(self, raw: Raw, names: Iterable[str], urls: Container[str]) -> None:
        self._raw = raw
        self._found: dict[str, tuple[str, Json]] = {}
        for name in names:
            table = raw.left(name)
            if table is not None:
                wanted = [url in urls for url in table["url"].to_pylist()]
                self._found |= {row["url"]: (name, row) for row in rows_of(table.filter(pa.array(wanted)))}

    def answer(self, url: str) -> Json | None:
        """Returns what became of a URL, as a row of STATUS; None where it is none of these."""
        return self._found.get(url, (None, None))[1]

    def image(self, url: str) -> Downloaded:
        """Returns the image of a URL whose answer is `ok`."""
        name, facts = self._found[url]
        assert facts["status"] == OK
        images = Images(self._raw, name)
        try:
            return Downloaded(facts["final_url"], images.read(facts))
        finally:
            images.close()
