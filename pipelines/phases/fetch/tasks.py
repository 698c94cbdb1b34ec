"""The tasks of phase fetch: ranges of rows of a source's lists, and what becomes another range when it changes."""

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.engines.step import Json
from pipelines.fetch import lists
from pipelines.fetch.lists import ColumnMap
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.refusals import REFUSALS, refusing
from pipelines.fetch.settings import NOT_DATA
from pipelines.files import Store, absolute, join
from pipelines.layout import Layout, text_of
from pipelines.phases.fetch.lists import PARQUET, list_path, lists_of
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.load import thresholds
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, urls

if TYPE_CHECKING:
    from pipelines.build import Build


def raw_folder(recipe: Recipe, source: Source) -> str:
    """Returns the folder of a source's raw shards."""
    return source.fetch.raw or join(Layout(absolute(recipe.out)).work, "fetched", source.id)


class Tasks:
    """The tasks of fetching one source, in the order of its lists: `every`."""

    def __init__(self, build: "Build", source: Source) -> None:
        self._build, self._source = build, source
        self.folder = raw_folder(build.recipe, source)
        self.valid = validity(build.recipe, source)
        self.every = list(self._tasks())

    def tables(self, pending: Container[int]) -> Iterator[tuple[int, pa.Table]]:
        """The rows of tasks that are not done, as tables of LIST, by the tasks' numbers."""
        mapped = ColumnMap.of_source(self._source)
        for at, task in enumerate(self.every):
            if at in pending:
                body = task.body
                shard = InputShard.from_json(body["input"])
                store = lists.store_of(self._source, self._build.layout, body["ours"])
                given = None if body["ours"] else mapped
                for table in lists.tables_of(shard, store, given, body["start"], body["stop"]):
                    yield at, table

    def _tasks(self) -> Iterator[Task]:
        build, source, settings = self._build, self._source, self._source.fetch
        rules, listed_out = thresholds(build.recipe, source), OptOut.read(settings).digest
        for shard in lists_of(build.recipe, source):
            ours = shard.format != PARQUET
            listed, rows = self._listed(shard, ours)
            store = lists.store_of(source, build.layout, ours)
            mark = (urls.as_made(store, listed.path) if ours else None) or store.identity(listed.path)
            size = settings.shard_rows * settings.task_shards
            for start in range(0, rows, size):
                name = f"{shard.shard}-{start // settings.shard_rows:05d}"
                body = self.body(listed, name, start, min(start + size, rows))
                body |= {"ours": ours, "valid": fingerprint(self.valid, mark)}
                depends = [
                    body["valid"],
                    refusing(settings),
                    start,
                    body["stop"],
                    settings.raw,
                    rules,
                    build.recipe.sample,
                    listed_out,
                ]
                yield Task(body["shard"], fingerprint("fetch", 1, depends), body)

    def body(self, listed: InputShard, name: str, start: int, stop: int) -> Json:
        """What a task of a list's rows from `start` to `stop` is told."""
        return {
            "name": name,
            "shard": text_of((self._source.id, name)),
            "input": listed.to_json(),
            "folder": self.folder,
            "start": start,
            "stop": stop,
            "again": self._build.retry_failed,
            "plain": False,
            "shared": [],
        }

    def _listed(self, shard: InputShard, ours: bool) -> tuple[InputShard, int]:
        """The list in Parquet, and its rows."""
        build, source = self._build, self._source
        if not ours:
            return shard, lists.count(shard, Store(source.storage_options or None, source.id))
        rows = build.results["lists"][shard.source, shard.shard]["rows"]
        path = list_path(build.layout, shard)
        size = build.layout.store.info(path).size
        return InputShard(shard.source, shard.shard, path, shard.kind, PARQUET, size), rows


def validity(recipe: Recipe, source: Source) -> str:
    """Returns what a row of a list gives, apart from the list, the hosts, the rules over its columns, and refusals."""
    settings = source.fetch.model_dump(mode="json", exclude={*NOT_DATA, *REFUSALS})
    columns = source.columns.model_dump(mode="json")
    pictures = recipe.signals.model_dump(mode="json", include={"picture"})
    made_with = versions(["pillow"]) if source.fetch.resize else {}
    return fingerprint("fetched", 1, settings, columns, pictures, made_with)
