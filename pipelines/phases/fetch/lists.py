"""Phase lists: each list of URLs is read once: what is no Parquet is written as Parquet, and ranges get digests.

A range is the rows of one task of phase fetch. Its digest depends on its rows alone, so rows that are appended to a
list, or a file that is written anew with the same rows, leave the tasks of the other rows done.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from pipelines.engines.step import IDLE, At, Json
from pipelines.fetch import lists
from pipelines.fetch.digests import Ranges
from pipelines.fetch.settings import FetchSettings
from pipelines.files import Store, join
from pipelines.layout import Layout, text_of
from pipelines.parquet import write_tables
from pipelines.receipts import Task, fingerprint
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard
from pipelines.sources.discovery import discover
from pipelines.sources.table import KINDS

if TYPE_CHECKING:
    from pipelines.build import Build

PARQUET: Final = "parquet"


def sources_of(recipe: Recipe) -> list[Source]:
    """Returns the sources that are lists of URLs."""
    return [source for source in recipe.sources if KINDS[source.kind].fetched]


def lists_of(recipe: Recipe, source: Source) -> tuple[InputShard, ...]:
    """Returns the files of a source's lists, sorted by id. Raises InputError where there are none."""
    return discover(
        source.id, source.path, source.kind, source.storage_options, source.columns, recipe.read
    ).shards


def list_path(layout: Layout, shard: InputShard) -> str:
    """Returns where a list that is no Parquet is kept as Parquet."""
    return join(layout.work, "lists", shard.source, f"{shard.shard}.parquet")


def range_rows(settings: FetchSettings) -> int:
    """Returns how many rows of a list one task of phase fetch has."""
    return settings.shard_rows * settings.task_shards


class _Urls:
    """Finds out whether any row of a list has a URL."""

    def __init__(self) -> None:
        self.any = False

    def passed(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yields tables of LIST as they are, and looks for a URL in them until there is one."""
        for table in tables:
            self.any = self.any or any(url and url.strip() for url in table["url"].to_pylist())
            yield table


class Lists:
    """Reads one list a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])

    def run(self, task: Json, at: At) -> Json:
        """Reads the list, and writes it where it is no Parquet; the receipt counts its rows and has their digests."""
        at(IDLE)
        shard = InputShard.from_json(task["input"])
        source = self._recipe.source(shard.source)
        ranges, urls = Ranges(range_rows(source.fetch)), _Urls()
        tables = urls.passed(ranges.passed(self._tables(source, shard)))
        if shard.format == PARQUET:
            for _ in tables:
                pass
        else:
            write_tables(self._layout, list_path(self._layout, shard), lists.LIST, tables)
        return {"rows": ranges.rows, "has_url": urls.any, "ranges": ranges.digests}

    def _tables(self, source: Source, shard: InputShard) -> Iterator[pa.Table]:
        store = Store(source.storage_options or None, source.id)
        if shard.format != PARQUET:
            return lists.text_tables(source, shard, store, self._recipe.read)
        mapped = lists.ColumnMap.of_source(source)
        return lists.tables_of(shard, store, mapped, 0, lists.count(shard, store))


def run(build: "Build") -> None:
    """Reads the lists that were not read yet, or are other files than before."""
    sources = sources_of(build.recipe) if not build.dry else ()
    tasks = [_task(build, source, shard) for source in sources for shard in lists_of(build.recipe, source)]
    if tasks:
        build.map("lists", tasks)


def _task(build: "Build", source: Source, shard: InputShard) -> Task:
    depends = [source.columns.model_dump(mode="json"), source.fetch.mapping(), range_rows(source.fetch)]
    read = build.recipe.read.model_dump(mode="json")
    mark = Store(source.storage_options or None, source.id).identity(shard.path)
    name = text_of((shard.source, shard.shard))
    return Task(name, fingerprint("lists", 3, depends, read, mark), {"input": shard.to_json(), "shard": name})
