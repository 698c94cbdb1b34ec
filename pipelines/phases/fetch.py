"""Phases lists and fetch: lists of URLs become raw shards, which are then read like any other.

A task of fetch is a range of rows of one list. Which raw shard a row is in, and its key there, follow from its place in
the list alone, so they are the same whatever failed.
"""

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from filters.arrow import pc
from pipelines.engines.step import IDLE, At, Json
from pipelines.fetch import lists
from pipelines.fetch.journal import folder_of
from pipelines.fetch.lists import ColumnMap
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.raw import Raw, layout_of, pieces
from pipelines.fetch.repeated import (
    Hashes,
    Part,
    Plan,
    among,
    candidates,
    list_of,
    planned,
    raw_of,
    save,
    saved,
)
from pipelines.fetch.report import Report
from pipelines.fetch.rules import ListRules
from pipelines.fetch.settings import NOT_DATA
from pipelines.fetch.statuses import DROPPED, OPTED_OUT, again
from pipelines.fetch.worker import FRESH, Fetch, Fresh
from pipelines.files import Store, absolute, join, shown
from pipelines.layout import Layout, text_of
from pipelines.outputs import witnessed
from pipelines.parquet import read_table, write_tables
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.load import thresholds
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, urls
from pipelines.sources.discovery import discover
from pipelines.sources.table import KINDS
from schemas.errors import InputError
from schemas.plain import plain

if TYPE_CHECKING:
    from pipelines.build import Build

__all__ = ["Fetch", "Lists", "run", "run_lists"]

_PARQUET: Final = "parquet"


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


def raw_folder(recipe: Recipe, source: Source) -> str:
    """Returns the folder of a source's raw shards."""
    return source.fetch.raw or join(Layout(absolute(recipe.out)).work, "fetched", source.id)


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


def run_lists(build: "Build") -> None:
    """Writes the lists that are no Parquet as Parquet, where that is not done yet."""
    tasks = []
    for source in sources_of(build.recipe) if not build.dry else ():
        for shard in lists_of(build.recipe, source):
            if shard.format != _PARQUET:
                depends = [source.columns.model_dump(mode="json"), source.fetch.mapping()]
                read = build.recipe.read.model_dump(mode="json")
                mark = Store(source.storage_options or None, source.id).identity(shard.path)
                name = text_of((shard.source, shard.shard))
                tasks.append(
                    Task(
                        name,
                        fingerprint("lists", 1, depends, read, mark),
                        {"input": shard.to_json(), "shard": name},
                    )
                )
    if tasks:
        build.map("lists", tasks)


def run(build: "Build") -> None:
    """Fetches what is not there yet, takes the raw shards in as inputs, and says what became of the URLs.

    A dry run fetches nothing: it takes the raw shards as an earlier run left them.
    """
    if build.dry:
        for source in sources_of(build.recipe):
            _take_in(build, source, _left(build, source))
        return
    fetched = [_Fetched(build, source) for source in sources_of(build.recipe)]
    tasks = [task for one in fetched for task in one.tasks]
    build.receipts("fetch").forget_all_but({task.name for task in tasks})
    build.check("fetch", tasks)
    forgotten = [name for one in fetched for name in one.forget_hidden()]
    if forgotten:
        run_lists(build)
    for one in fetched:
        one.run()


def hide(build: "Build") -> None:
    """Takes removed rows out of the copies of lists and out of the reports, as they were taken out of raw shards.

    Says which folders of a person's own they stay in.
    """
    for source in sources_of(build.recipe):
        raw = Raw(build.layout, raw_folder(build.recipe, source))
        if source.fetch.raw is not None:
            if any(raw.gone(source.id, name) for name in _names(build, source)):
                build.reporter.say(
                    f"source {source.id}: removed rows stay in {shown(source.fetch.raw)} (fetch.raw), which is yours: "
                    "take them out there, or remove the folder and fetch again"
                )
            continue
        for shard in lists_of(build.recipe, source):
            if shard.format != _PARQUET:
                _hide_in_list(build, raw, shard)
        Report(build.layout, raw, source).write(_names(build, source))


def _names(build: "Build", source: Source) -> list[str]:
    return sorted(name for owner, name in build.shards if owner == source.id)


def _hide_in_list(build: "Build", raw: Raw, shard: InputShard) -> None:
    """Takes the rows of a list out of its copy that are out of the raw shards."""
    layout, rows, path = build.layout, set[int](), list_path(build.layout, shard)
    for name in _names(build, build.recipe.source(shard.source)):
        if name.rpartition("-")[0] == shard.shard and (gone := raw.gone(shard.source, name)):
            statuses = read_table(layout, raw.status(name), ["key", "row", "url"]).to_pylist()
            rows |= {one["row"] for one in statuses if one["key"] in gone and one["url"] is None}
    if rows:
        table = read_table(layout, path)
        out = [number in rows for number in range(table.num_rows)]
        with witnessed() as written:
            urls.blank(layout, path, table, out, lambda: layout.store.identity(path))
        build.vouch(written)


def _take_in(build: "Build", source: Source, shards: Mapping[str, int]) -> None:
    """Takes raw shards in, by their names, with their sizes."""
    folder = raw_folder(build.recipe, source)
    build.add(
        InputShard(source.id, name, join(folder, f"{name}.tar"), source.kind, "tar", size)
        for name, size in shards.items()
    )


def _left(build: "Build", source: Source) -> dict[str, int]:
    """The raw shards of earlier runs. Raises InputError where there are none."""
    raw = Raw(build.layout, raw_folder(build.recipe, source))
    names = raw.names()
    if not names:
        raise InputError(
            f"source {source.id}: nothing is fetched yet: run vlcorpus fetch with the recipe first"
        )
    return {name: build.layout.store.info(raw.tar(name)).size for name in names}


class _Fetched:
    """The fetch of one source."""

    def __init__(self, build: "Build", source: Source) -> None:
        self._build, self._source = build, source
        self._folder = raw_folder(build.recipe, source)
        self._valid = validity(build.recipe, source)
        self.tasks = list(self._tasks())
        self._there = frozenset(Raw(build.layout, self._folder).names())

    def run(self) -> None:
        """Fetches the source's URLs that are not fetched yet."""
        build, source = self._build, self._source
        parts = self._share()
        receipts, asked = self._mapped()
        asked += parts
        shards = {name: size for receipt in receipts for name, size in receipt["shards"]}
        _take_in(build, source, shards)
        raw = Raw(build.layout, self._folder)
        raw.keep_only(shards)
        build.layout.store.remove_folder(folder_of(raw))
        if source.fetch.raw not in (None, build.layout.out):
            build.layout.store.remove_folder(Layout(self._folder, build.layout.run).tmp)
        report = Report(build.layout, raw, source)
        report.write(sorted(shards))
        if build.retry_failed:
            build.reporter.say(f"source {source.id}: {asked:,} URLs were asked for again")
        for sentence in report.sentences(_counted(receipts)):
            build.reporter.say(sentence)

    def _share(self) -> int:
        """Downloads the URLs that several tasks are about to ask for, once; returns how many were asked for."""
        build, source = self._build, self._source
        raw = raw_of(Raw(layout_of(source.fetch, build.layout), self._folder))
        pending = {at for at, task in enumerate(self.tasks) if not build.receipts("fetch").done(task)}
        if len(pending) < 2:
            return 0
        mark = fingerprint("shared", [task.fingerprint for task in self.tasks], build.retry_failed)
        plan = saved(raw, mark)
        if plan is None:
            build.layout.store.remove_folder(raw.folder)
            plan = self._planned(raw, pending)
            save(raw, plan, mark)
        for at in pending:
            self.tasks[at].body["shared"] = plan.shards(at)
        if not plan.parts:
            return 0
        urls = sum(part.rows for part in plan.parts)
        build.reporter.say(f"source {source.id}: {urls:,} URLs that several tasks share are downloaded first")
        fresh = Fresh()

        def settle(task: Task, receipt: Json) -> Task:
            fresh.add(Fresh(**receipt.pop(FRESH)))
            return task

        tasks = [self._part_task(raw, part, mark) for part in plan.parts]
        build.map("fetch", tasks, settle=settle)
        for task in tasks:
            build.receipts("fetch").forget(task.name)
        return fresh.asked

    def _part_task(self, raw: Raw, part: Part, mark: str) -> Task:
        path = list_of(raw, part)
        size = self._build.layout.store.info(path).size
        listed = InputShard(self._source.id, part.name, path, self._source.kind, _PARQUET, size)
        valid = fingerprint(self._valid, part.name)
        body = self._body(listed, part.name, 0, part.rows) | {
            "ours": True,
            "folder": raw.folder,
            "valid": valid,
            "again": False,
            "plain": True,
        }
        return Task(body["shard"], fingerprint("shared", mark, valid), body)

    def _planned(self, raw: Raw, pending: Container[int]) -> Plan:
        sought = candidates(self._tables(pending))
        if not len(sought):
            return Plan()
        return planned(raw, self._asked(pending, sought), self._source.fetch.shard_rows)

    def _tables(self, pending: Container[int]) -> Iterator[tuple[int, pa.Table]]:
        """The rows of tasks that are not done, as tables of LIST, by the tasks' numbers."""
        mapped = ColumnMap.of_source(self._source)
        for at, task in enumerate(self.tasks):
            if at in pending:
                body = task.body
                shard = InputShard.from_json(body["input"])
                store = lists.store_of(self._source, self._build.layout, body["ours"])
                given = None if body["ours"] else mapped
                for table in lists.tables_of(shard, store, given, body["start"], body["stop"]):
                    yield at, table

    def _asked(self, pending: Container[int], sought: Hashes) -> Iterator[tuple[int, pa.Array]]:
        """The URLs with these hashes that tasks are about to ask for."""
        rules, last, row = ListRules(self._build.recipe, self._source), -1, 0
        for at, table in self._tables(pending):
            if at != last:
                last, row, answered = at, 0, self._answered(self.tasks[at].body)
            wanted = among(table, sought)
            numbers = pc.add(pc.indices_nonzero(wanted), row).to_numpy(zero_copy_only=False)
            row += table.num_rows
            found = table.filter(wanted)
            open_ = [
                reason is None and error is None and number not in answered
                for reason, error, number in zip(
                    rules.reasons(found), found["error"].to_pylist(), numbers.tolist(), strict=True
                )
            ]
            yield at, found["url"].combine_chunks().filter(pa.array(open_, pa.bool_()))

    def _answered(self, body: Json) -> frozenset[int]:
        """The rows of a task, counted from its start, that earlier runs left an answer of."""
        raw = Raw(self._build.layout, self._folder, body["valid"])
        found = set()
        size = self._source.fetch.shard_rows
        for piece in pieces(InputShard.from_json(body["input"]).shard, body["start"], body["stop"], size):
            if piece.name in self._there and (known := raw.known(piece.name)) is not None:
                for number, status in enumerate(known["status"].to_pylist(), piece.start - body["start"]):
                    if status not in (DROPPED, OPTED_OUT) and not (body["again"] and again(status)):
                        found.add(number)
        return frozenset(found)

    def forget_hidden(self) -> list[str]:
        """Removes receipts of copies that lack removed rows, where URLs are to be asked for; returns their names."""
        build = self._build
        if build.retry_failed:
            self._forget_failed(self.tasks)
        build.check("fetch", self.tasks)
        self._forget_lost(self.tasks)
        if all(build.receipts("fetch").done(task) for task in self.tasks):
            return []
        names = [
            text_of((shard.source, shard.shard))
            for shard in lists_of(build.recipe, self._source)
            if shard.format != _PARQUET and urls.as_made(build.layout.store, list_path(build.layout, shard))
        ]
        for name in names:
            build.receipts("lists").forget(name)
        return names

    def _mapped(self) -> tuple[Collection[Json], int]:
        """The receipts of all tasks, and how many URLs were asked for now.

        Raises InputError where no host answers and images are lost for that. Then nothing stays of
        what was written now, so the same run asks again for the same URLs.
        """
        build, fresh, ran = self._build, Fresh(), list[Task]()

        def settle(task: Task, receipt: Json) -> Task:
            fresh.add(Fresh(**receipt.pop(FRESH)))
            ran.append(task)
            return task

        receipts = build.map("fetch", self.tasks, settle=settle)
        if not fresh.unreached or fresh.answered:
            return receipts, fresh.asked
        if any(receipt["kept"] for receipt in receipts) and not self._had_images(fresh.shards):
            return receipts, fresh.asked
        raw = Raw(build.layout, self._folder)
        build.layout.store.remove_folder(raw_of(raw).folder)
        for task in ran:
            build.receipts("fetch").forget(task.name)
        for name in fresh.shards:
            raw.remove(name)
        raise InputError(
            f"source {self._source.id}: no host of its URLs answers: check the network and the DNS of this machine "
            "(fetch.resolvers, fetch.proxy), then run the same command again; a list whose hosts are gone for good is "
            "to be left out"
        )

    def _forget_lost(self, tasks: list[Task]) -> None:
        """Removes the receipts of tasks whose raw shards are not there: one that took a shard as it was wrote none."""
        store, receipts = self._build.layout.store, self._build.receipts("fetch")
        listed = store.list_files(self._folder) if store.is_folder(self._folder) else ()
        there = {info.name: info.size for info in listed}
        done = [task for task in tasks if receipts.done(task)]
        for task, receipt in zip(done, receipts.read(done), strict=True):
            if any(there.get(f"{name}.tar") != size for name, size in receipt["shards"]):
                receipts.forget(task.name)

    def _had_images(self, names: Iterable[str]) -> bool:
        """Whether some of these raw shards were measured before, with images."""
        for name in names:
            path = self._build.layout.path("signals", self._source.id, name)
            if self._build.layout.store.exists(path):
                column = read_table(self._build.layout, path, ["sha256"])["sha256"]
                if column.null_count < len(column):
                    return True
        return False

    def _tasks(self) -> Iterator[Task]:
        build, source, settings = self._build, self._source, self._source.fetch
        rules, listed_out = thresholds(build.recipe, source), OptOut.read(settings).digest
        for shard in lists_of(build.recipe, source):
            ours = shard.format != _PARQUET
            listed, rows = self._listed(shard, ours)
            store = lists.store_of(source, build.layout, ours)
            mark = (urls.as_made(store, listed.path) if ours else None) or store.identity(listed.path)
            size = settings.shard_rows * settings.task_shards
            for start in range(0, rows, size):
                name = f"{shard.shard}-{start // settings.shard_rows:05d}"
                body = self._body(listed, name, start, min(start + size, rows))
                body |= {"ours": ours, "valid": fingerprint(self._valid, mark)}
                depends = [
                    body["valid"],
                    start,
                    body["stop"],
                    settings.raw,
                    rules,
                    build.recipe.sample,
                    listed_out,
                ]
                yield Task(body["shard"], fingerprint("fetch", depends), body)

    def _body(self, listed: InputShard, name: str, start: int, stop: int) -> Json:
        """What a task of a list's rows from `start` to `stop` is told."""
        return {
            "name": name,
            "shard": text_of((self._source.id, name)),
            "input": listed.to_json(),
            "folder": self._folder,
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
        return InputShard(shard.source, shard.shard, path, shard.kind, _PARQUET, size), rows

    def _forget_failed(self, tasks: list[Task]) -> None:
        """Removes the receipts of tasks with URLs that are worth another try."""
        receipts = self._build.receipts("fetch")
        done = [task for task in tasks if receipts.done(task)]
        for task, receipt in zip(done, receipts.read(done), strict=True):
            if any(again(status) for status in receipt["statuses"]):
                receipts.forget(task.name)


def _counted(receipts: Iterable[Mapping[str, Json]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for receipt in receipts:
        found.update(receipt["statuses"])
    return found


def validity(recipe: Recipe, source: Source) -> str:
    """Returns what a row of a list gives, apart from the list, the hosts, and the rules over its columns."""
    settings = source.fetch.model_dump(mode="json", exclude={*NOT_DATA})
    columns = source.columns.model_dump(mode="json")
    pictures = recipe.signals.model_dump(mode="json", include={"picture"})
    made_with = versions(["pillow"]) if source.fetch.resize else {}
    return fingerprint("fetched", 1, settings, columns, pictures, made_with)


def check(recipe: Recipe) -> None:
    """Raises InputError where a source of URLs cannot be fetched as the recipe asks."""
    folders = Counter(source.fetch.raw for source in sources_of(recipe) if source.fetch.raw)
    for folder, times in folders.items():
        if times > 1:
            raise InputError(
                f"{times} sources have their raw shards in {folder}: give each a folder of its own"
            )
    for source in sources_of(recipe):
        OptOut.read(source.fetch)
        earlier = source.fetch.earlier
        if earlier is not None and not Raw(Layout("", options=dict(source.storage_options)), earlier).names():
            raise InputError(
                f"source {source.id}: fetch.earlier: {plain(earlier)} holds no earlier fetch: name a folder of raw "
                "shards with its status/"
            )
