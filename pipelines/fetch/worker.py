"""The worker of phase fetch: downloads the images of one range of a list, shard by shard, many URLs at a time.

Downloads of several shards overlap, so that a slow host holds up no more than the shard that its URL is in. A shard is
written as soon as the last of its URLs has an answer; whoever is killed loses the shards that were not.
"""

import asyncio
import gc
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_network
from typing import Any, Final, TypeVar

import pyarrow as pa

from filters.picture import PictureSettings
from pipelines.engines.step import IDLE, At, Json
from pipelines.fetch import earlier
from pipelines.fetch.address import Guard, as_asked
from pipelines.fetch.arrival import Arrival, Arrived
from pipelines.fetch.digests import with_digests
from pipelines.fetch.download import Download, Downloaded, Tries
from pipelines.fetch.earlier import Earlier
from pipelines.fetch.identity import Known
from pipelines.fetch.lists import ColumnMap, malformed, range_of, store_of
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.pulse import Pulse, beat
from pipelines.fetch.raw import Piece, Raw, Result, Spool, layout_of, pieces
from pipelines.fetch.refusals import refusing
from pipelines.fetch.repeated import Shared, raw_of
from pipelines.fetch.rules import ListRules
from pipelines.fetch.shard import Shard, left_out, of_row
from pipelines.fetch.statuses import OF_IMAGE, OK, OPTED_OUT, REPLACED, STATUSES, UNSAFE, Failure
from pipelines.files import join
from pipelines.layout import Layout, name_of
from pipelines.recipe.model import Recipe, Source
from pipelines.sources.shard import InputShard
from schemas.errors import VlcorpusError

_OPEN_SHARDS: Final = 16
_SELDOM: Final = (50_000, 20, 20)
"""Thresholds of Python's collector of garbage, for downloads, which leave few cycles."""
FRESH: Final = "fresh"
"""The key of what a task hands to the driver beside its receipt, and which is not kept there: a Fresh."""

T = TypeVar("T")


class Fetch:
    """Fetches one range of a list a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._loop = _Loop()
        self._sources: dict[str, _SourceFetch] = {}

    def run(self, task: Json, at: At) -> Json:
        """Writes the raw shards of the range and their statuses; the receipt counts what became of its URLs."""
        at(IDLE)
        with _seldom_collected():
            return self._run(task, at)

    def _run(self, task: Json, at: At) -> Json:
        shard = InputShard.from_json(task["input"])
        if shard.source not in self._sources:
            source = self._recipe.source(shard.source)
            opened = self._loop.run(_opened(self._recipe, source, self._layout))
            self._sources[shard.source] = opened
        return self._loop.run(self._sources[shard.source].range(shard, task, at))

    def close(self) -> None:
        """Ends all connections."""
        while self._sources:
            self._loop.run(self._sources.popitem()[1].close())
        self._loop.close()


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """A block in which Python seldom looks for cycles of garbage: downloads leave few, and a look costs CPU."""
    usual = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class _Loop:
    """An event loop in a thread of its own: the caller's thread may have one that runs, as in a notebook."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _opened(recipe: Recipe, source: Source, layout: Layout) -> "_SourceFetch":
    return _SourceFetch(recipe, source, layout)


class _SourceFetch:
    """What stays open from task to task of one source."""

    def __init__(self, recipe: Recipe, source: Source, layout: Layout) -> None:
        self.recipe, self.source, self.layout = recipe, source, layout
        self.settings = source.fetch
        self.opt_out = OptOut.read(self.settings)
        guard = Guard(
            [ip_network(text) for text in self.settings.allow_addresses],
            self.settings.ports,
            self.settings.check_addresses,
        )
        self.download = Download(self.settings, guard, self.opt_out.refuses)
        pictures = recipe.signals[PictureSettings]
        self.arrival = Arrival(self.settings, pictures, self.opt_out)
        self._plain = Arrival(self.settings.model_copy(update={"resize": None}), pictures, self.opt_out)
        # one image at a time: what guards a decoder holds for the process
        self._decoder, self._decoding = ThreadPoolExecutor(1, "decode"), asyncio.Lock()
        self.rules = ListRules(recipe, source)
        self.mapped = ColumnMap.of_source(source)

    def decodes(self, table: pa.Table) -> bool:
        """Returns whether images of some rows of LIST are decoded as they arrive."""
        hashes = any(table[name].null_count < table.num_rows for name in ("sha256", "md5", "phash"))
        return hashes or self.settings.resize is not None or self.settings.earlier is not None

    async def take(self, body: bytes, known: Known | None) -> Arrived:
        """Takes a body in, one after the other: a small image at once, for threads that take turns cost 0.3 ms.

        Others go to the thread that decodes, beside the downloads, and these go on between any two.
        """
        async with self._decoding:
            if self.arrival.is_quick(body, known):
                return self.arrival.take(body, known)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._decoder, self.arrival.take, body, known)

    async def take_at_once(self, body: bytes, known: Known | None) -> Arrived:
        """Takes a body in as it came: that takes less time than handing it to a thread."""
        return self._plain.take(body, known)

    async def range(self, shard: InputShard, task: Json, at: At) -> Json:
        """Fetches a task's range."""
        store = store_of(self.source, self.layout, task["ours"])
        start, stop = task["start"], task["stop"]
        table = with_digests(range_of(shard, store, None if task["ours"] else self.mapped, start, stop))
        where = layout_of(self.settings, self.layout)
        raw = Raw(where, task["folder"], task["valid"], refusing(self.settings))
        urls = frozenset(map(as_asked, table["url"].drop_null().to_pylist()))
        if task["plain"]:
            left_in = replace(raw, folder=task["left_in"])
            shared = Shared.of_left(left_in, task["left"], self.opt_out, urls)
        else:
            shared = Shared.of_parts(raw_of(raw), task["shared"], task["old"], urls)
        there = earlier.raw_of(self.source)
        before = Earlier(there, task["earlier"], urls) if there is not None else None
        fetched = _Range(self, raw, table, shared, at, task["again"], task["plain"], before)
        beating = asyncio.create_task(beat(self.layout, name_of(task["shard"]), fetched.pulse))
        try:
            shards = list(pieces(shard.shard, start, stop, self.settings.shard_rows))
            receipt = await fetched.run(shards, start)
        except BaseExceptionGroup as group:
            raise _first_of(group) from group
        finally:
            beating.cancel()
            await beating
            fetched.close()
        self._log(task, fetched.log)
        return receipt

    def _log(self, task: Json, lines: list[Json]) -> None:
        """Attempts and seconds, which differ from run to run, go to the log and nowhere else."""
        text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
        folder = join(self.layout.work, "log", "fetch", self.layout.run, self.source.id)
        if lines:
            path = join(folder, f"{task['name']}.jsonl")
            self.layout.store.write_bytes(path, text.encode(), self.layout.tmp)

    async def close(self) -> None:
        await self.download.close()
        self._decoder.shutdown()


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a group of downloads: one that a person can mend, where there is one."""
    leaves = list(_leaves(group))
    return next((one for one in leaves if isinstance(one, VlcorpusError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


@dataclass
class Fresh:
    """What a task did now: the URLs that it asked for, and the raw shards that it wrote from nothing.

    Of these shards the names, and how many of their URLs found no host, had an answer, or are UNSAFE.
    """

    asked: int = 0
    shards: list[str] = field(default_factory=list)
    unreached: int = 0
    answered: int = 0
    unsafe: int = 0

    def take(self, name: str, results: Iterable[Result]) -> None:
        """Takes one more shard."""
        self.shards.append(name)
        for result in results:
            self.unreached += STATUSES[result.facts["status"]].outage
            self.answered += result.facts["code"] is not None
            self.unsafe += result.facts["status"] == UNSAFE

    def add(self, other: "Fresh") -> None:
        """Takes the shards of another task."""
        self.asked += other.asked
        self.shards += other.shards
        self.unreached += other.unreached
        self.answered += other.answered
        self.unsafe += other.unsafe


@dataclass
class _Range:
    """One task at work."""

    of: _SourceFetch
    raw: Raw
    table: pa.Table
    shared: Shared
    at: At
    again: bool
    plain: bool
    """No rule holds, and images stay as they came: the rows are URLs that tasks share."""
    earlier: Earlier | None = None
    log: list[Json] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _bytes: int = 0
    _done: int = 0
    _pending: int = 0
    _repeats: Spool = field(default_factory=Spool)
    _answers: dict[str, "asyncio.Future[Failure | tuple[str, tuple[int, int]]]"] = field(default_factory=dict)
    _fresh: "Fresh" = field(default_factory=lambda: Fresh())

    def __post_init__(self) -> None:
        urls = Counter(map(as_asked, self.table["url"].drop_null().to_pylist()))
        self._repeated = frozenset(url for url, times in urls.items() if times > 1)
        self._decodes = not self.plain and self.of.decodes(self.table)
        self._room = asyncio.Event()
        self._room.set()
        self._open = asyncio.Semaphore(_OPEN_SHARDS)

    async def run(self, shards: list[Piece], first: int) -> Json:
        """Fetches the shards that are not there yet; `first` is the number of the table's first row."""
        table = self.table
        reasons: list[str | None] = [None] * table.num_rows
        if not self.plain:
            reasons = self.of.rules.reasons(table)
        async with asyncio.TaskGroup() as group:
            for piece in shards:
                await self._open.acquire()
                await self._room.wait()
                low, high = piece.start - first, piece.stop - first
                group.create_task(self._piece(piece, self.table.slice(low, high - low), reasons[low:high]))
        tars, stamps = self.raw.looks(piece.name for piece in shards)
        statuses = dict(sorted(self._counts.items()))
        rows = sum(statuses.values())
        return {
            "rows": rows,
            "bytes": self._bytes,
            "kept": statuses.get(OK, 0),
            "statuses": statuses,
            "malformed": malformed(table["malformed"], first),
            "shards": tars,
            "stamps": stamps,
            FRESH: asdict(self._fresh),
        }

    def pulse(self) -> Pulse:
        """Returns how the task stands."""
        hosts = self.of.download.hosts_open
        return Pulse(self._done, self._counts[OK], self._bytes, hosts, self._fresh.asked)

    def close(self) -> None:
        """Lets the images go that several rows share."""
        self._repeats.close()

    async def _piece(self, piece: Piece, table: pa.Table, reasons: list[str | None]) -> None:
        try:
            shard = Shard(self.raw, piece, table, reasons, self.of.source, self.of.opt_out)
            if shard.is_whole(self.again):
                shard.spool.remove()
                shard.close()
                for row in shard.known or ():
                    self._count(row)
            else:
                await self._shard(shard)
        finally:
            self._open.release()

    async def _shard(self, shard: Shard) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for at, row in enumerate(shard.rows()):
                    facts = shard.facts(at, row)
                    if facts["status"] is not None and not shard.is_gone(at):
                        shard.found[at] = Result(facts)
                        self._count(facts)
                        continue
                    self._pending += 1
                    self._update_room()
                    group.create_task(self._row(shard, at, row, facts))
            results = shard.results()
            await asyncio.to_thread(self.raw.write, shard.piece.name, results, shard.spool)
            if shard.is_new:
                self._fresh.take(shard.piece.name, results)
            shard.spool.remove()
        finally:
            shard.close()

    async def _row(self, shard: Shard, at: int, row: Json, facts: Json) -> None:
        try:
            shard.found[at] = await self._result(shard, at, row, facts)
        finally:
            self._pending -= 1
            self._update_room()
        self._count(shard.found[at].facts)

    def _update_room(self) -> None:
        if self._pending < 2 * self.of.settings.concurrency:
            self._room.set()
        else:
            self._room.clear()

    def _count(self, facts: Json) -> None:
        self._counts[facts["status"]] += 1
        self._bytes += facts["bytes"] or 0
        self.at(self._done)
        self.at(IDLE)
        self._done += 1

    async def _result(self, shard: Shard, at: int, row: Json, facts: Json) -> Result:
        kept = shard.kept(at, self.again, facts)
        if kept is not None:
            return kept
        return shard.noted(at, *await self._fetched(shard, facts, row))

    async def _downloaded(self, url: str, tries: Tries) -> Downloaded:
        """Downloads a URL; one that several rows of the task share once, for all of them. Raises Failure."""
        if url not in self._repeated:
            self._fresh.asked += 1
            return await self.of.download.get(url, tries)
        if url not in self._answers:
            self._answers[url] = asyncio.get_running_loop().create_future()
            self._fresh.asked += 1
            try:
                found = await self.of.download.get(url, tries)
            except Failure as failure:
                self._answers[url].set_result(failure)
            except BaseException:
                self._answers[url].cancel()
                raise
            else:
                self._answers[url].set_result((found.final_url, self._repeats.add(found.body)))
        answer = await asyncio.shield(self._answers[url])
        if isinstance(answer, Failure):
            raise Failure(answer.status, answer.detail, answer.code)
        final_url, place = answer
        return Downloaded(final_url, self._repeats.read(*place))

    async def _fetched(self, shard: Shard, facts: Json, row: Json) -> tuple[Json, bytes | None]:
        """Downloads one URL; returns its columns of STATUS, and its image."""
        tries, image, url = Tries(), None, as_asked(row["url"] or "")
        try:
            if self.of.opt_out.refuses_listed(row["url"]):
                raise Failure(OPTED_OUT)
            known = self._known(url, row)
            given = self._given(url, row, facts, known)
            if isinstance(given, tuple):
                return given
            if given is None:
                arrived = await self._taken(await self._downloaded(url, tries), facts, known)
            else:
                arrived = await self._shared(url, given, tries, facts, known)
        except Failure as failure:
            facts |= {"status": failure.status, "detail": failure.detail or None}
            if failure.code is not None:
                facts["code"] = failure.code
        else:
            facts, image = facts | _image(arrived), arrived.data
        if tries.attempts:
            line = {"key": facts["key"], "attempts": tries.attempts, "seconds": round(tries.seconds, 3)}
            self.log.append(line)
        return facts, image

    def _given(
        self, url: str, row: Json, facts: Json, known: Known | None
    ) -> tuple[Json, bytes | None] | Downloaded | None:
        """What the answer to another row gives this one: its status, or a body to take in; None where neither serves.

        Raises Failure where the URL is on an opt-out list.
        """
        answer = self.shared.answer(url)
        if answer is None:
            return None
        by = self.of.opt_out.covers({**answer, "url": row["url"]})
        if by == "url":
            raise Failure(OPTED_OUT)
        if by == "image":
            return left_out(facts, answer), None
        if answer["status"] != OK:
            return of_row(facts, answer), None
        image = self.shared.image(url)
        if image is None or (answer["stored_sha256"] and known is not None):
            return None
        if answer["stored_sha256"]:
            return of_row(facts, {**answer, "verdict": None}), image
        return Downloaded(answer["final_url"], image)

    def _known(self, url: str, row: Json) -> Known | None:
        """What is known of the image that a row's URL had."""
        known = Known.of_list(row)
        return self.earlier.known(url) if known is None and self.earlier is not None else known

    async def _shared(
        self, url: str, found: Downloaded, tries: Tries, facts: Json, known: Known | None
    ) -> Arrived:
        """Takes in the image of a URL that other rows share; one of an earlier run only where it is the one known."""
        try:
            return await self._taken(found, facts, known)
        except Failure as failure:
            if failure.status != REPLACED or not self.shared.is_old(url):
                raise
            return await self._taken(await self._downloaded(url, tries), facts, known)

    async def _taken(self, found: Downloaded, facts: Json, known: Known | None) -> Arrived:
        """Takes a body in, and notes in `facts` how it came."""
        facts |= {"code": 200, "final_url": found.final_url, "bytes": len(found.body)}
        take = self.of.take if self._decodes else self.of.take_at_once
        try:
            return await take(found.body, known)
        except Failure as failure:
            if failure.detail == OF_IMAGE:  # by which a later run knows it without its bytes
                facts["sha256"] = hashlib.sha256(found.body).hexdigest()
            raise


def _image(arrived: Arrived) -> Json:
    found: Json = {
        "status": OK,
        "sha256": arrived.sha256,
        "verdict": arrived.verdict,
        "suffix": arrived.suffix,
    }
    found |= arrived.stored
    if arrived.width is not None:
        found |= {"width": arrived.width, "height": arrived.height}
    return found
