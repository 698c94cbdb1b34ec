"""The embedded engine: worker processes of this machine, each fed by a thread of the driver."""

import itertools
import os
import queue
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.engines import exchange
from pipelines.engines.isolation import IsolatedWorker, Stopped
from pipelines.engines.pace import Pace, heaviest_first
from pipelines.engines.step import Done, Json, Kept, Rows, Step, grouped
from pipelines.files import local_path
from pipelines.layout import Layout

Pieces = list[tuple[str, list[int]]]

GROUPS_A_WORKER = 16
"""Into how many calls a worker's share of the tasks is split: pieces grow with the data, not with the tasks."""

Work = Callable[[IsolatedWorker, int, int], Json]
"""Does a piece of work, given its place among all; the last number is another one each time."""


class LocalEngine:
    """Runs steps in `workers` child processes; `rows` hears of progress."""

    def __init__(self, workers: int, rows: Rows | None = None) -> None:
        self._workers = workers
        self._scratch: Path | None = None
        self._rows = rows
        self._pool: list[IsolatedWorker] = []

    def open(self, layout: Layout) -> None:
        """Pieces of a shuffle are kept beside the corpus where that is local."""
        self._scratch = Path(local_path(layout.tmp)) if layout.is_local else None

    def map(
        self, step: Step, tasks: Sequence[Json], done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Receipts in the order of the tasks; `done` hears of each at once, in this thread.

        One task at a time goes to a worker: that costs some 50 microseconds, so batches would save nothing.
        """
        return self._spread(step, len(tasks), lambda worker, i, _: worker.run(tasks[i]), done, weights)

    def shuffle(
        self, step: Step, tasks: Sequence[Json], partitions: int, kept: Kept | None = None
    ) -> list[Json]:
        """Receipts of the partitions that hold rows, in partition order."""
        if self._scratch is not None:
            self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="shuffle-", dir=self._scratch))
        try:
            written = self._split(step, grouped(tasks, GROUPS_A_WORKER * self._workers), partitions, folder)
            if kept:
                kept([one for receipt in written for one in receipt["scratch"]])
            return self._reduce(step, written, partitions, folder)
        finally:
            shutil.rmtree(folder)

    def _split(self, step: Step, groups: list[Sequence[Json]], partitions: int, folder: Path) -> list[Json]:
        """The receipts of groups of tasks that are split."""
        bundle = exchange.bundle_size(partitions)
        return self._spread(
            step,
            len(groups),
            lambda worker, i, n: worker.split(groups[i], str(folder / f"{i}-{n}.arrow"), bundle),
        )

    def _reduce(self, step: Step, written: list[Json], partitions: int, folder: Path) -> list[Json]:
        """The receipts of the partitions, given those of the groups that were split.

        Bundles are taken apart some at a time, so that few rows lie on the disk twice.
        """
        pieces = exchange.by_partition(written)
        if exchange.bundle_size(partitions) == 1:
            return self._reduce_pieces(step, list(pieces.items()))
        receipts: list[Json] = []
        waiting = deque(pieces.values())
        while waiting:
            bundles = [waiting.popleft() for _ in range(min(self._workers, len(waiting)))]
            apart = self._unbundle(step, bundles, folder)
            for one in () if waiting else written:
                Path(one["path"]).unlink(missing_ok=True)
            receipts += self._reduce_pieces(step, list(exchange.by_partition(apart).items()))
            for one in apart:
                Path(one["path"]).unlink()
        return receipts

    def _unbundle(self, step: Step, bundles: list[Pieces], folder: Path) -> list[Json]:
        """The receipts of bundles that are taken apart."""
        return self._spread(
            step,
            len(bundles),
            lambda worker, i, n: worker.unbundle(bundles[i], str(folder / f"bundle-{i}-{n}.arrow")),
        )

    def _reduce_pieces(self, step: Step, pieces: list[tuple[int, Pieces]]) -> list[Json]:
        """The receipts of partitions, given the pieces of each."""
        return self._spread(step, len(pieces), lambda worker, i, _: worker.reduce(*pieces[i]))

    def close(self) -> None:
        """End every child."""
        while self._pool:
            self._pool.pop().close()

    def _spread(
        self, step: Step, count: int, work: Work, done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Do `count` pieces of work over the workers; the first failure ends all and is raised."""
        race = Race(count, step.twice, weights)
        workers = self._take(step, min(self._workers, count))
        threads = [threading.Thread(target=_serve, args=(w, step, work, race)) for w in workers]
        receipts: list[Json] = [{} for _ in range(count)]
        try:
            for thread in threads:
                thread.start()
            for _ in range(count):
                index, outcome = race.finished.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                receipts[index] = outcome
                if done:
                    done(index, outcome)
        except BaseException:
            race.end()
            for worker in workers:
                worker.stop()
            _join(threads)
            # those whose thread was never started
            for worker in workers:
                worker.close()
            raise
        # a worker that lost is not done before its child has ended, so nothing is written later
        _join(threads)
        self._pool += workers
        return receipts

    def _take(self, step: Step, count: int) -> list[IsolatedWorker]:
        while len(self._pool) < count:
            self._pool.append(IsolatedWorker(step, self._rows))
        taken, self._pool = self._pool[:count], self._pool[count:]
        return taken


class Race:
    """Who does what: hands out pieces of work, the heaviest first, and those that are late once more when none is left.

    `finished` gets the outcome of each, once. A failure counts where nobody else is at the same piece, and so does what
    the second one at it blames a row for.
    """

    def __init__(self, count: int, twice: bool, weights: Sequence[float] = ()) -> None:
        self.finished: queue.SimpleQueue[tuple[int, Json | BaseException]] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._todo = deque(heaviest_first(count, weights))
        self._open = set(self._todo)
        # those that may be handed out once more
        self._once = set(self._todo) if twice else set[int]()
        self._serial = itertools.count()
        self._pace = Pace(weights)
        self._at: dict[int, dict[IsolatedWorker, float]] = {}
        """By piece of work: who is at it, and since when."""

    def take(self, worker: IsolatedWorker) -> tuple[int, int] | None:
        """Returns a piece of work as soon as there is one, with a number of its own; None where all is done."""
        with self._changed:
            while self._open:
                if self._todo:
                    return self._given(self._todo.popleft(), worker)
                since = {one: min(at.values()) for one, at in self._at.items() if one in self._once}
                now = time.monotonic()
                late = self._pace.first_late({one: now - at for one, at in since.items()})
                if late and late[1] == 0:
                    self._once.remove(late[0])
                    return self._given(late[0], worker)
                self._changed.wait(late and late[1])
            return None

    def _given(self, index: int, worker: IsolatedWorker) -> tuple[int, int]:
        self._at.setdefault(index, {})[worker] = time.monotonic()
        return index, next(self._serial)

    def tell(self, worker: IsolatedWorker, index: int, outcome: Json | BaseException) -> bool:
        """Takes in an outcome; returns whether it counts. Whoever else is at the same piece is stopped then."""
        with self._changed:
            at = self._at.get(index, {})
            since = at.pop(worker, None)
            if since is None:
                return False
            if at and (isinstance(outcome, BaseException) or (worker.blamed and since > min(at.values()))):
                return False
            del self._at[index]
            self._open.discard(index)
            self._pace.note(index, time.monotonic() - since)
            for other in at:
                other.stop()
            self._changed.notify_all()
        self.finished.put((index, outcome))
        return True

    def give_up(self, worker: IsolatedWorker, index: int) -> None:
        """Takes back what a worker was at when it was stopped; where nobody else is at it, it is handed out again."""
        with self._changed:
            at = self._at.get(index, {})
            if at.pop(worker, None) is not None and not at:
                self._todo.append(index)
                self._changed.notify_all()

    def end(self) -> None:
        """Hands out no more."""
        with self._changed:
            self._open.clear()
            self._changed.notify_all()


def _join(threads: Sequence[threading.Thread]) -> None:
    """Waits for those threads that were started: an interrupt may come before all are."""
    for thread in threads:
        if thread.is_alive():
            thread.join()


def _serve(worker: IsolatedWorker, step: Step, work: Work, race: Race) -> None:
    """One thread's loop: take work, do it in its child, report; a failure that counts ends it."""
    worker.use(step)
    while (taken := race.take(worker)) is not None:
        index, serial = taken
        try:
            if not race.tell(worker, index, work(worker, index, serial)):
                worker.withdraw()
        except Stopped:
            worker.withdraw()
            race.give_up(worker, index)
        except BaseException as failure:  # noqa: BLE001 - raised again in the driver's thread
            worker.close()
            if race.tell(worker, index, failure):
                return
            worker.withdraw()


def default_workers() -> int:
    """As many workers as this process may use cores."""
    return len(os.sched_getaffinity(0))
