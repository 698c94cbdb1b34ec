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
from pipelines.files import absolute, join
from pipelines.layout import Layout, text_of
from pipelines.phases.fetch.lists import PARQUET, list_path, lists_of, range_rows
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.load import thresholds
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard

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
        size = range_rows(settings)
        for shard in lists_of(build.recipe, source):
            listed, read = self._listed(shard), build.results["lists"][shard.source, shard.shard]
            for number, digest in enumerate(read["ranges"]):
                start = number * size
                name = f"{shard.shard}-{start // settings.shard_rows:05d}"
                body = self.body(listed, name, start, min(start + size, read["rows"]))
                body["ours"] = shard.format != PARQUET
                depends = [
                    self.valid,
                    digest,
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
        """Returns the body of the task that fetches a list's rows from `start` to `stop`."""
        return {
            "name": name,
            "shard": text_of((self._source.id, name)),
            "input": listed.to_json(),
            "folder": self.folder,
            "valid": self.valid,
            "start": start,
            "stop": stop,
            "again": self._build.retry_failed,
            "plain": False,
            "shared": [],
            "old": [],
            "earlier": [],
        }

    def _listed(self, shard: InputShard) -> InputShard:
        """The list in Parquet."""
        if shard.format == PARQUET:
            return shard
        path = list_path(self._build.layout, shard)
        size = self._build.layout.store.info(path).size
        return InputShard(shard.source, shard.shard, path, shard.kind, PARQUET, size)


def validity(recipe: Recipe, source: Source) -> str:
    """Returns what a row of a list gives, apart from the row, the hosts, the rules over its columns, and refusals."""
    settings = source.fetch.model_dump(mode="json", exclude={*NOT_DATA, *REFUSALS})
    columns = source.columns.model_dump(mode="json")
    pictures = recipe.signals.model_dump(mode="json", include={"picture"})
    made_with = {"resized": 2, **versions(["pillow"])} if source.fetch.resize else {}
    return fingerprint("fetched", 2, settings, columns, pictures, made_with)
