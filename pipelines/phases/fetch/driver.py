"""Phase fetch: lists of URLs become raw shards, which are then read like any other.

A task is a range of rows of one list. Which raw shard a row is in, and its key there, follow from its place in the
list alone, so they are the same whatever failed.
"""

import ssl
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.engines.step import Json
from pipelines.fetch.journal import folder_of
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.pulse import watched
from pipelines.fetch.raw import Raw
from pipelines.fetch.repeated import raw_of
from pipelines.fetch.report import Report
from pipelines.fetch.statuses import again, not_public
from pipelines.fetch.worker import FRESH, Fresh
from pipelines.files import FileInfo, join, shown
from pipelines.layout import Layout, text_of
from pipelines.parquet import read_table
from pipelines.phases.fetch import lists
from pipelines.phases.fetch.folder import check_folder, lost_images
from pipelines.phases.fetch.lists import PARQUET, list_path, lists_of, sources_of
from pipelines.phases.fetch.shared import SharedUrls
from pipelines.phases.fetch.tasks import Tasks, raw_folder
from pipelines.receipts import Task
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, urls
from schemas.errors import InputError
from schemas.plain import many, plain

if TYPE_CHECKING:
    from pipelines.build import Build


def run(build: "Build") -> None:
    """Fetches what is not there yet, takes the raw shards in as inputs, and says what became of the URLs.

    A dry run fetches nothing: it takes the raw shards as an earlier run left them.
    """
    if build.dry:
        for source in sources_of(build.recipe):
            _take_in(build, source, _left(build, source))
        return
    fetched = [_Fetched(build, source) for source in sources_of(build.recipe)]
    for one in fetched:
        one.check()
    tasks = [task for one in fetched for task in one.tasks]
    build.receipts("fetch").forget_all_but({task.name for task in tasks})
    build.check("fetch", tasks)
    forgotten = [name for one in fetched for name in one.forget_hidden()]
    if forgotten:
        lists.run(build)
    for one in fetched:
        one.run()


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
        self._tasks = Tasks(build, source)
        self._raw = Raw(build.layout, self._tasks.folder)
        self._raw.restore()

    @property
    def tasks(self) -> list[Task]:
        """The source's tasks, in the order of its lists."""
        return self._tasks.every

    def run(self) -> None:
        """Fetches the source's URLs that are not fetched yet."""
        build, source = self._build, self._source
        shared = SharedUrls(build, source, self._tasks).fetch()
        receipts, asked = self._mapped()
        counts = _counted(receipts)
        asked += shared
        shards = {name: size for receipt in receipts for name, size in receipt["shards"]}
        _take_in(build, source, shards)
        raw = self._raw
        for sentence in lost_images(raw, source, shards):
            build.reporter.say(sentence)
        raw.keep_only(shards)
        build.layout.store.remove_folder(folder_of(raw))
        if source.fetch.raw not in (None, build.layout.out):
            build.layout.store.remove_folder(Layout(self._tasks.folder, build.layout.run).tmp)
        report = Report(build.layout, raw, source)
        report.write(sorted(shards))
        if build.retry_failed:
            build.reporter.say(f"source {source.id}: asked again for {many(asked, 'URL')}")
        for sentence in [*report.sentences(counts), *self._malformed(receipts)]:
            build.reporter.say(sentence)

    def _malformed(self, receipts: Iterable[Json]) -> Iterator[str]:
        """Yields a sentence for each hash of which some rows have a value that is none."""
        found: dict[str, tuple[int, str]] = {}
        for task, receipt in zip(self.tasks, receipts, strict=True):
            for part, (count, row) in receipt["malformed"].items():
                before, first = found.get(part, (0, f"row {row} of {shown(task.body['input']['shard'])}"))
                found[part] = before + count, first
        for part, (count, first) in found.items():
            yield (
                f"source {self._source.id}: {many(count, 'row')} with a malformed {part} (the first: {first}): their "
                f"images are not held against it; mend the column, or name another (fetch.{part})"
            )

    def check(self) -> None:
        """Raises InputError, before anything is written, where these lists would empty the folder of raw shards."""
        self._check_urls()
        check_folder(self._build, self._source, self._tasks, self._raw)

    def _check_urls(self) -> None:
        """Raises InputError where no row of the lists has a URL: they are not what the recipe takes them for."""
        build, source = self._build, self._source
        read = [build.results["lists"][one.source, one.shard] for one in lists_of(build.recipe, source)]
        rows = sum(one["rows"] for one in read)
        if not rows:
            raise InputError(
                f"source {source.id}: its lists have no row (the first: {shown(source.path[0])}): give lists with URLs "
                "or leave the source out"
            )
        if any(one["has_url"] for one in read):
            return
        _, table = next(self._tasks.tables({0}))
        why = table["error"][0].as_py()
        raise InputError(
            f"source {source.id}: none of the {many(rows, 'row')} of its lists has a URL"
            f"{f' (the first: {plain(why)})' if why else ''}; say whose lists they are (--list, fetch.list), or name "
            "their columns in a recipe (columns; docs/fetch.md)"
        )

    def forget_hidden(self) -> list[str]:
        """Removes receipts of copies that lack removed rows, where URLs are to be asked for; returns their names."""
        build = self._build
        self._forget_lost(self.tasks)
        if build.retry_failed:
            self._forget_failed(self.tasks)
        build.check("fetch", self.tasks)
        if all(build.receipts("fetch").done(task) for task in self.tasks):
            return []
        names = [
            text_of((shard.source, shard.shard))
            for shard in lists_of(build.recipe, self._source)
            if shard.format != PARQUET and urls.as_made(build.layout.store, list_path(build.layout, shard))
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

        pending = [task.body for task in self.tasks if not build.receipts("fetch").done(task)]
        rows = sum(body["stop"] - body["start"] for body in pending)
        with watched(build.layout, self._source.id, rows, build.reporter.live):
            receipts = build.map("fetch", self.tasks, settle=settle)
        if not fresh.unreached or fresh.answered:
            return receipts, fresh.asked
        if any(receipt["kept"] for receipt in receipts) and not self._had_images(fresh.shards):
            return receipts, fresh.asked
        raw = self._raw
        build.layout.store.remove_folder(raw_of(raw).folder)
        for task in ran:
            build.receipts("fetch").forget(task.name)
        for name in fresh.shards:
            raw.remove(name)
        first = f"{not_public(fresh.unsafe)}; else " if fresh.unsafe else ""
        raise InputError(
            f"source {self._source.id}: no host of its URLs answers: {first}check the network and the DNS of this "
            "machine (fetch.resolvers, fetch.proxy), then run the same command again; a list whose hosts are gone for "
            "good is to be left out"
        )

    def _forget_lost(self, tasks: list[Task]) -> None:
        """Removes the receipts of tasks whose raw shards are not as they left them, and those shards that are damaged.

        That holds for tasks whose rows changed since as well, for these take over what is sound of their shards.
        A task that took a shard as it was vouches for none of it, nor does any for a folder beside the corpus. There a
        person may take rows out, which is no damage: the images are held against the statuses, and not these.
        """
        store, receipts = self._build.layout.store, self._build.receipts("fetch")
        raw = self._raw
        listed = store.list_files(self._tasks.folder) if store.is_folder(self._tasks.folder) else ()
        there = {info.path: info for info in listed}
        for task in tasks:
            receipt = receipts.last(task.name)
            shards = receipt.get("shards", [])
            looks = zip(shards, receipt.get("stamps", [()] * len(shards)), strict=True)
            changed = [
                name for (name, size), stamps in looks if not self._is_as_left(there, name, size, stamps)
            ]
            for name in changed:
                if (what := raw.damage(name)) is not None:
                    self._build.reporter.say(f"fetch: {shown(raw.tar(name))} {what}: it is made again")
                    raw.remove(name)
            if changed:
                receipts.forget(task.name)

    def _is_as_left(self, there: Mapping[str, FileInfo], name: str, size: int, stamps: Sequence[str]) -> bool:
        """Whether a shard has the size that a task left; in a folder that the recipe names, their stamps as well."""
        tar, status = there.get(self._raw.tar(name)), there.get(self._raw.status(name))
        if tar is None or status is None or tar.size != size:
            return False
        return self._source.fetch.raw is None or [tar.stamp, status.stamp] == [*stamps]

    def _had_images(self, names: Iterable[str]) -> bool:
        """Whether some of these raw shards were measured before, with images."""
        for name in names:
            path = self._build.layout.path("signals", self._source.id, name)
            if self._build.layout.store.exists(path):
                column = read_table(self._build.layout, path, ["sha256"])["sha256"]
                if column.null_count < len(column):
                    return True
        return False

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
        _check_authorities(source)
        earlier = source.fetch.earlier
        if earlier is not None and not Raw(Layout("", options=dict(source.storage_options)), earlier).names():
            raise InputError(
                f"source {source.id}: fetch.earlier: {plain(earlier)} holds no earlier fetch: name a folder of raw "
                "shards with its status/"
            )


def _check_authorities(source: Source) -> None:
    """Raises InputError where the file of authorities that the recipe names has none."""
    if source.fetch.ca is None:
        return
    try:
        ssl.create_default_context(cafile=source.fetch.ca)
    except OSError as error:
        why = (
            "it holds no certificates (PEM)"
            if isinstance(error, ssl.SSLError)
            else str(error.strerror).lower()
        )
        raise InputError(
            f"source {source.id}: fetch.ca: {plain(source.fetch.ca)}: {why}: name the file of the authorities"
        ) from error
