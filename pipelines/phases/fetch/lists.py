"""Phase lists: lists of URLs that are no Parquet are written as Parquet, once."""

from typing import TYPE_CHECKING, Final

from pipelines.engines.step import IDLE, At, Json
from pipelines.fetch import lists
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


class Lists:
    """Writes one list as Parquet a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])

    def run(self, task: Json, at: At) -> Json:
        """Writes the list; the receipt counts its rows."""
        at(IDLE)
        shard = InputShard.from_json(task["input"])
        source = self._recipe.source(shard.source)
        store = Store(source.storage_options or None, source.id)
        tables = lists.text_tables(source, shard, store, self._recipe.read)
        return {"rows": write_tables(self._layout, list_path(self._layout, shard), lists.LIST, tables)}


def run(build: "Build") -> None:
    """Writes the lists that are no Parquet as Parquet, where that is not done yet."""
    tasks = []
    for source in sources_of(build.recipe) if not build.dry else ():
        for shard in lists_of(build.recipe, source):
            if shard.format != PARQUET:
                depends = [source.columns.model_dump(mode="json"), source.fetch.mapping()]
                read = build.recipe.read.model_dump(mode="json")
                mark = Store(source.storage_options or None, source.id).identity(shard.path)
                name = text_of((shard.source, shard.shard))
                tasks.append(
                    Task(
                        name,
                        fingerprint("lists", 2, depends, read, mark),
                        {"input": shard.to_json(), "shard": name},
                    )
                )
    if tasks:
        build.map("lists", tasks)
