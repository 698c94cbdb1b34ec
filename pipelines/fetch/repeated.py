"""URLs that rows of several tasks share, or that earlier runs left an answer to: each is downloaded once.

The driver finds them in two passes over the lists, out of core. They become lists of their own, in the order in which
they first stand, which phase fetch downloads before the tasks, like any list, into a hidden folder beside the raw
shards; answers that earlier runs left for other rows are copied there from the raw shards. The tasks take the answers
from there. A run that is killed goes on with the same plan; the folder goes when the source is fetched.
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
from pipelines.fetch.journal import folder_of
from pipelines.fetch.lists import LIST
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.raw import Images, Raw, rows_of
from pipelines.fetch.statuses import OK
from pipelines.files import join
from pipelines.parquet import write_tables

_MEMORY: Final = "64MB"
"""What DuckDB keeps in memory while it groups; the rest goes to disk."""
_HASHES: Final = pa.schema([("hash", pa.uint64()), ("task", pa.int32())])
_ASKED: Final = pa.schema([("url", pa.string()), ("task", pa.int32()), ("number", pa.int64())])
_SEVERAL: Final = "SELECT hash FROM hashes GROUP BY hash HAVING min(task) < max(task) ORDER BY hash"
_LEFT: Final = pa.schema([("url", pa.string()), ("shard", pa.string())])
_SHARED: Final = """
CREATE TABLE shared AS
SELECT url, shard, row_number() OVER (PARTITION BY shard IS NULL ORDER BY shard, min(number)) - 1 AS place
FROM asked LEFT JOIN (SELECT url, min(shard) AS shard FROM answered GROUP BY url) USING (url)
GROUP BY url, shard HAVING min(task) < max(task) OR shard IS NOT NULL
"""
_PART: Final = """
SELECT url, shard FROM shared WHERE (shard IS NULL) = $downloaded AND place >= $first AND place < $first + $size
ORDER BY place
"""
_OF_TASKS: Final = """
SELECT task, list(DISTINCT part ORDER BY part)
FROM asked JOIN (
    SELECT url, place // $size + CASE WHEN shard IS NULL THEN 0 ELSE $downloaded END AS part FROM shared
) USING (url) GROUP BY task ORDER BY task
"""

_HOLDING: Final = """
SELECT task, list(DISTINCT shard ORDER BY shard)
FROM asked JOIN (SELECT hash, min(task) AS shard FROM given GROUP BY hash) USING (hash) GROUP BY task
"""
_MISSING: Final = "SELECT count(*) FROM asked ANTI JOIN given USING (hash)"

LEFT: Final = -1
"""The number of a task that is none: of URLs that earlier runs left an answer to."""

Hashes = npt.NDArray[np.uint64]


class Part(NamedTuple):
    """A list of URLs that several tasks share; its name is the digest of them.

    `left` are the raw shards of earlier runs that hold the answers; none where the URLs are to be downloaded.
    """

    name: str
    rows: int
    left: tuple[str, ...] = ()

    @property
    def shard(self) -> str:
        """The name of its one raw shard."""
        return f"{self.name}-00000"


@dataclass(frozen=True)
class Plan:
    """The parts, and which of them hold URLs of which task, by the task's number."""

    parts: tuple[Part, ...] = ()
    of_task: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def of(self, task: int) -> list[Part]:
        """Returns the parts with URLs of a task."""
        return [self.parts[part] for part in dict(self.of_task).get(task, ())]


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
    """Returns the hashes of URLs that stand in several tasks, sorted; `tables` have URLs, by task or LEFT."""

    with _database() as connection:
        connection.register("hashes", _hashes(tables))
        return np.asarray(connection.sql(_SEVERAL).fetchnumpy()["hash"], np.uint64)


def holding(
    given: Iterable[tuple[int, pa.Table]], asked: Iterable[tuple[int, pa.Table]]
) -> tuple[dict[int, list[int]], int, int]:
    """Returns by task which raw shards have its URLs, how many rows have a URL that is in none, and all with a URL.

    `given` have the URLs of raw shards by their numbers, `asked` those of tasks; a URL counts in its first shard alone.
    """
    with _database() as connection:
        for name, tables in (("given", given), ("asked", asked)):
            connection.register("hashes", _hashes(tables))
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM hashes")
            connection.unregister("hashes")
        found = dict(connection.execute(_HOLDING).fetchall())
        (missing,) = connection.execute(_MISSING).fetchone() or (0,)
        (rows,) = connection.execute("SELECT count(*) FROM asked").fetchone() or (0,)
        return found, missing, rows


def _hashes(tables: Iterable[tuple[int, pa.Table]]) -> pa.RecordBatchReader:
    """The hashes of URLs with the numbers of their tables."""

    def batches() -> Iterator[pa.RecordBatch]:
        for number, table in tables:
            found = hashes_of(table["url"].to_pylist())
            found = found[found != 0]
            yield pa.RecordBatch.from_arrays([pa.array(found), _tasks(number, len(found))], schema=_HASHES)

    return pa.RecordBatchReader.from_batches(_HASHES, batches())


def among(table: pa.Table, sought: Hashes) -> pa.Array:
    """Returns which rows of LIST have a URL whose hash is among those sought, which are sorted."""
    found = hashes_of(table["url"].to_pylist())
    places = np.minimum(np.searchsorted(sought, found), max(len(sought) - 1, 0))
    return pa.array((sought[places] == found) & (found != 0) if len(sought) else np.zeros(len(found), bool))


def planned(
    raw: Raw, asked: Iterable[tuple[int, pa.Array]], answered: Iterable[tuple[str, pa.Array]], size: int
) -> Plan:
    """Writes the lists of URLs that tasks share, or that are answered already, each of at most `size`.

    Returns the plan. `asked` are the URLs that tasks are about to ask for, in the order of the lists; `answered` are
    those that earlier runs left an answer to, by the names of their raw shards.
    """

    def rows_asked() -> Iterator[pa.RecordBatch]:
        number = 0
        for task, given in asked:
            urls = _urls(given)
            numbers = pa.array(np.arange(number, number + len(urls)))
            number += len(urls)
            yield pa.RecordBatch.from_arrays([urls, _tasks(task, len(urls)), numbers], schema=_ASKED)

    def rows_answered() -> Iterator[pa.RecordBatch]:
        for name, given in answered:
            shards = pa.repeat(name, len(given))
            yield pa.RecordBatch.from_arrays([_urls(given), shards], schema=_LEFT)

    with _database() as connection:
        _fill(connection, "asked", pa.RecordBatchReader.from_batches(_ASKED, rows_asked()))
        _fill(connection, "answered", pa.RecordBatchReader.from_batches(_LEFT, rows_answered()))
        connection.execute(_SHARED)
        parts = [_written(raw, rows) for rows in _lists(connection, size, downloaded=True)]
        of_tasks = {"size": size, "downloaded": len(parts)}
        parts += [_written(raw, rows) for rows in _lists(connection, size, downloaded=False)]
        rows = connection.execute(_OF_TASKS, of_tasks).fetchall()
        return Plan(tuple(parts), tuple((task, tuple(found)) for task, found in rows))


def _urls(given: pa.Array) -> pa.Array:
    """URLs as they are asked."""
    return pa.array(map(as_asked, given.to_pylist()), pa.string())


def _fill(connection: duckdb.DuckDBPyConnection, name: str, batches: pa.RecordBatchReader) -> None:
    connection.register("given", batches)
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
    connection.unregister("given")


def _tasks(task: int, count: int) -> Any:
    return pa.array(np.full(count, task, np.int32))


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute("SET temp_directory = $folder", {"folder": folder})
        yield connection


def _lists(
    connection: duckdb.DuckDBPyConnection, size: int, downloaded: bool
) -> Iterator[list[tuple[str, str | None]]]:
    """URLs that are to be downloaded, or those that are answered already, each with its raw shard."""
    counted = "SELECT count(*) FROM shared WHERE (shard IS NULL) = ?"
    (count,) = connection.execute(counted, [downloaded]).fetchone() or (0,)
    for first in range(0, count, size):
        given = {"downloaded": downloaded, "first": first, "size": size}
        yield connection.execute(_PART, given).fetchall()


def _written(raw: Raw, rows: Sequence[tuple[str, str | None]]) -> Part:
    urls = [url for url, _ in rows]
    digest = hashlib.blake2b(json.dumps(urls).encode(), digest_size=16).hexdigest()
    part = Part(digest, len(urls), tuple(sorted({shard for _, shard in rows if shard is not None})))
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
    return Plan(tuple(Part(name, rows, tuple(left)) for name, rows, left in found["parts"]), of_task)


def _path(raw: Raw) -> str:
    return join(raw.folder, "plan.json")


class Shared:
    """Answers to URLs of a task that lie in other raw shards than its own, by the URLs as they are asked."""

    def __init__(self, raw: Raw, old: Container[str] = ()) -> None:
        self._raw, self._old = raw, old
        self._found: dict[str, tuple[str, Json]] = {}

    @classmethod
    def of_parts(cls, raw: Raw, names: Iterable[str], old: Container[str], urls: Container[str]) -> "Shared":
        """Returns the answers that a plan's parts hold; `raw` is as `raw_of` gives it, `old` are copies."""
        found = cls(raw, old)
        for name in names:
            if (table := raw.left(name)) is not None:
                found._take(name, table, urls)
        return found

    @classmethod
    def of_left(cls, raw: Raw, names: Iterable[str], opt_out: OptOut, urls: Container[str]) -> "Shared":
        """Returns the answers that earlier runs left in these raw shards."""
        found = cls(raw)
        for name in names:
            if (left := raw.known(name)) is not None:
                found._take(name, left.answers(opt_out), urls)
        return found

    def _take(self, name: str, table: pa.Table, urls: Container[str]) -> None:
        asked = [url and as_asked(url) for url in table["url"].to_pylist()]
        chosen = table.filter(pa.array([url in urls for url in asked], pa.bool_()))
        self._found |= {as_asked(row["url"]): (name, row) for row in rows_of(chosen)}

    def answer(self, url: str) -> Json | None:
        """Returns what became of a URL, as a row of STATUS; None where it is none of these."""
        return self._found.get(url, (None, None))[1]

    def is_old(self, url: str) -> bool:
        """Returns whether an answer is one that an earlier run left."""
        return self._found[url][0] in self._old

    def image(self, url: str) -> bytes | None:
        """Returns the image of a URL whose answer is `ok`, as it is stored; None where it is damaged or lost."""
        name, facts = self._found[url]
        assert facts["status"] == OK
        images = Images(self._raw, name)
        try:
            return images.read(facts)
        finally:
            images.close()
