"""URLs that several tasks of a source are about to ask for, or that earlier runs asked for, are downloaded once."""

from collections.abc import Collection, Container, Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from filters.arrow import pc
from pipelines.engines.step import Json
from pipelines.fetch import earlier
from pipelines.fetch.digests import COLUMN as LISTED
from pipelines.fetch.digests import Digests, of_rows
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.raw import ANSWERED, Raw, is_out, layout_of, pieces, rows_of
from pipelines.fetch.refusals import refusing
from pipelines.fetch.repeated import (
    LEFT,
    Hashes,
    Part,
    Plan,
    among,
    candidates,
    hashes_of,
    holding,
    list_of,
    planned,
    raw_of,
    save,
    saved,
)
from pipelines.fetch.rules import ListRules
from pipelines.fetch.statuses import DROPPED, OPTED_OUT, again
from pipelines.fetch.worker import FRESH, Fresh
from pipelines.files import shown
from pipelines.phases.fetch.lists import PARQUET
from pipelines.phases.fetch.tasks import Tasks
from pipelines.receipts import Task, fingerprint
from pipelines.recipe.model import Source
from pipelines.sources import InputShard
from schemas.plain import many

if TYPE_CHECKING:
    from pipelines.build import Build


class SharedUrls:
    """The URLs that tasks of one source share."""

    def __init__(self, build: "Build", source: Source, tasks: Tasks) -> None:
        self._build, self._source, self._tasks = build, source, tasks
        self._left = Raw(build.layout, tasks.folder, tasks.valid, refusing(source.fetch))
        self._opt_out = OptOut.read(source.fetch)
        self._there = frozenset(self._left.names())

    def fetch(self) -> int:
        """Downloads the URLs that several tasks are about to ask for, once; returns how many were asked for.

        Where earlier runs left an answer for other rows, that is taken.
        """
        build, source = self._build, self._source
        raw = raw_of(Raw(layout_of(source.fetch, build.layout), self._tasks.folder))
        pending = {at for at, task in enumerate(self._tasks.every) if not build.receipts("fetch").done(task)}
        self._name_earlier(pending)
        if not pending or (len(pending) == 1 and not self._there):
            return 0
        mark = fingerprint("shared", [task.fingerprint for task in self._tasks.every], build.retry_failed)
        plan = saved(raw, mark)
        if plan is None:
            build.layout.store.remove_folder(raw.folder)
            plan = self._planned(raw, pending)
            save(raw, plan, mark)
        for at in pending:
            parts = plan.of(at)
            self._tasks.every[at].body.update(
                shared=[part.shard for part in parts], old=[part.shard for part in parts if part.left]
            )
        return self._answer(raw, plan.parts, mark) if plan.parts else 0

    def _name_earlier(self, pending: Container[int]) -> None:
        """Tells tasks which raw shards of an earlier fetch have their URLs; says how many rows are in none."""
        raw = earlier.raw_of(self._source)
        if raw is None:
            return
        names = raw.names()
        tables = self._tasks.tables(pending)
        asked = ((at, table.filter(pc.invert(earlier.has_hash(table)))) for at, table in tables)
        of_task, missing, rows = holding(enumerate(earlier.urls_of(raw, names)), asked)
        for at, shards in of_task.items():
            self._tasks.every[at].body["earlier"] = [names[shard] for shard in shards]
        if missing:
            self._build.reporter.say(
                f"source {self._source.id}: {missing:,} of {many(rows, 'row')} to fetch have a URL that gave no image "
                f"in {shown(raw.folder)} (fetch.earlier): their images are held against nothing"
            )

    def _answer(self, raw: Raw, parts: Collection[Part], mark: str) -> int:
        """Downloads the URLs of a plan, or takes their answers; returns how many were asked for."""
        build, source, fresh = self._build, self._source, Fresh()
        urls = sum(part.rows for part in parts if not part.left)
        old = sum(part.rows for part in parts) - urls
        if urls:
            build.reporter.say(
                f"source {source.id}: downloads {many(urls, 'URL')} first that several tasks share"
            )
        if old:
            build.reporter.say(
                f"source {source.id}: an earlier run fetched {many(old, 'URL')} of rows that are new or changed"
            )

        def settle(task: Task, receipt: Json) -> Task:
            fresh.add(Fresh(**receipt.pop(FRESH)))
            return task

        tasks = [self._part_task(raw, part, mark) for part in parts]
        build.map("fetch", tasks, settle=settle)
        for task in tasks:
            build.receipts("fetch").forget(task.name)
        return fresh.asked

    def _part_task(self, raw: Raw, part: Part, mark: str) -> Task:
        path = list_of(raw, part)
        size = self._build.layout.store.info(path).size
        listed = InputShard(self._source.id, part.name, path, self._source.kind, PARQUET, size)
        body = self._tasks.body(listed, part.name, 0, part.rows) | {
            "ours": True,
            "folder": raw.folder,
            "again": False,
            "plain": True,
            "left": part.left,
            "left_in": self._tasks.folder,
            "earlier": [],
        }
        return Task(body["shard"], fingerprint("shared", mark, part.name), body)

    def _planned(self, raw: Raw, pending: Container[int]) -> Plan:
        answered = ((LEFT, table) for _, table in self._answers())
        sought = candidates(chain(answered, self._open(pending)))
        if not len(sought):
            return Plan()
        held = self._held(pending, sought)
        known = (
            (name, table.filter(among(table, sought))["url"]) for name, table in self._answers(unlike=held)
        )
        return planned(raw, self._asked(pending, sought), known, self._source.fetch.shard_rows)

    def _held(self, pending: Container[int], sought: Hashes) -> Hashes:
        """The hashes of URLs whose images tasks hold against a hash, which images made smaller do not serve, sorted."""
        if self._source.fetch.resize is None:
            return sought[:0]
        found = [sought[:0]]
        for _, table in self._open(pending):
            rows = table.filter(pc.and_(among(table, sought), earlier.has_hash(table)))
            found.append(hashes_of(rows["url"].to_pylist()))
        return np.unique(np.concatenate(found))

    def _answers(self, unlike: Hashes | None = None) -> Iterator[tuple[str, pa.Table]]:
        """The URLs that earlier runs left an answer to, by the names of their raw shards.

        Images made smaller are no answers to URLs with the hashes `unlike`.
        """
        for name in sorted(self._there):
            if (known := self._left.known(name, [*ANSWERED, "stored_sha256"])) is not None:
                table = known.answers(self._opt_out)
                if unlike is not None and len(unlike):
                    is_small = pc.is_valid(table["stored_sha256"])
                    table = table.filter(pc.invert(pc.and_(is_small, among(table, unlike))))
                yield name, table

    def _asked(self, pending: Container[int], sought: Hashes) -> Iterator[tuple[int, pa.Array]]:
        """The URLs with these hashes that tasks are about to ask for."""
        rules = ListRules(self._build.recipe, self._source)
        for at, table in self._open(pending):
            found = table.filter(among(table, sought))
            passed = [reason is None for reason in rules.reasons(found)]
            yield at, found["url"].filter(pa.array(passed, pa.bool_())).drop_null()

    def _open(self, pending: Container[int]) -> Iterator[tuple[int, pa.Table]]:
        """The rows of tasks that no earlier run left an answer for."""
        last, row, answered = -1, 0, None
        for at, table in self._tasks.tables(pending):
            if at != last:
                last, row, answered = at, 0, self._answered(self._tasks.every[at].body)
            if answered is None:
                yield at, table
            else:
                first, row = row, row + table.num_rows
                yield at, table.filter(pa.array(of_rows(table) != answered[first:row]))

    def _answered(self, body: Json) -> Digests | None:
        """The digests of a task's rows that earlier runs left an answer for, 0 for others; None without such shards."""
        start, stop, size = body["start"], body["stop"], self._source.fetch.shard_rows
        named = pieces(InputShard.from_json(body["input"]).shard, start, stop, size)
        there = [piece for piece in named if piece.name in self._there]
        if not there:
            return None
        found = np.zeros(stop - start, np.uint64)
        for piece in there:
            if (known := self._left.known(piece.name, [*ANSWERED, LISTED])) is not None:
                passing = (DROPPED, OPTED_OUT, *known.refused)
                asked = [
                    (row["status"] in passing and not is_out(row, self._opt_out))
                    or (body["again"] and again(row["status"]))
                    for row in rows_of(known.table.select(ANSWERED))
                ]
                digests = np.where(asked, 0, known.table[LISTED].to_numpy())[: piece.stop - piece.start]
                found[piece.start - start :][: len(digests)] = digests
        return found
