"""URLs that several tasks of a source are about to ask for are downloaded before the tasks, once."""

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from filters.arrow import pc
from pipelines.engines.step import Json
from pipelines.fetch.raw import Raw, layout_of, pieces
from pipelines.fetch.refusals import refusing
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
from pipelines.fetch.rules import ListRules
from pipelines.fetch.statuses import DROPPED, OPTED_OUT, again
from pipelines.fetch.worker import FRESH, Fresh
from pipelines.phases.fetch.lists import PARQUET
from pipelines.phases.fetch.tasks import Tasks
from pipelines.receipts import Task, fingerprint
from pipelines.recipe.model import Source
from pipelines.sources import InputShard

if TYPE_CHECKING:
    from pipelines.build import Build


class SharedUrls:
    """The URLs that tasks of one source share."""

    def __init__(self, build: "Build", source: Source, tasks: Tasks) -> None:
        self._build, self._source, self._tasks = build, source, tasks
        self._there = frozenset(Raw(build.layout, tasks.folder).names())

    def fetch(self) -> int:
        """Downloads the URLs that several tasks are about to ask for, once; returns how many were asked for."""
        build, source = self._build, self._source
        raw = raw_of(Raw(layout_of(source.fetch, build.layout), self._tasks.folder))
        pending = {at for at, task in enumerate(self._tasks.every) if not build.receipts("fetch").done(task)}
        if len(pending) < 2:
            return 0
        mark = fingerprint("shared", [task.fingerprint for task in self._tasks.every], build.retry_failed)
        plan = saved(raw, mark)
        if plan is None:
            build.layout.store.remove_folder(raw.folder)
            plan = self._planned(raw, pending)
            save(raw, plan, mark)
        for at in pending:
            self._tasks.every[at].body["shared"] = plan.shards(at)
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
        listed = InputShard(self._source.id, part.name, path, self._source.kind, PARQUET, size)
        valid = fingerprint(self._tasks.valid, part.name)
        body = self._tasks.body(listed, part.name, 0, part.rows) | {
            "ours": True,
            "folder": raw.folder,
            "valid": valid,
            "again": False,
            "plain": True,
        }
        return Task(body["shard"], fingerprint("shared", mark, valid), body)

    def _planned(self, raw: Raw, pending: Container[int]) -> Plan:
        sought = candidates(self._tasks.tables(pending))
        if not len(sought):
            return Plan()
        return planned(raw, self._asked(pending, sought), self._source.fetch.shard_rows)

    def _asked(self, pending: Container[int], sought: Hashes) -> Iterator[tuple[int, pa.Array]]:
        """The URLs with these hashes that tasks are about to ask for."""
        rules, last, row = ListRules(self._build.recipe, self._source), -1, 0
        for at, table in self._tasks.tables(pending):
            if at != last:
                last, row, answered = at, 0, self._answered(self._tasks.every[at].body)
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
        raw = Raw(self._build.layout, self._tasks.folder, body["valid"], refusing(self._source.fetch))
        found = set()
        size = self._source.fetch.shard_rows
        for piece in pieces(InputShard.from_json(body["input"]).shard, body["start"], body["stop"], size):
            if piece.name in self._there and (known := raw.known(piece.name)) is not None:
                statuses = known.table["status"].to_pylist()
                for number, status in enumerate(statuses, piece.start - body["start"]):
                    asked = status in (DROPPED, OPTED_OUT) or status in known.refused
                    if not asked and not (body["again"] and again(status)):
                        found.add(number)
        return frozenset(found)
