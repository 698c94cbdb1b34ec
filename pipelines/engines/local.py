"""The embedded engine: worker processes of this machine, each fed by a thread of the driver."""

import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.engines import exchange
from pipelines.engines.isolation import IsolatedWorker, Stopped
from pipelines.engines.step import Done, Json, Kept, Rows, Step, grouped
from pipelines.files import local_path
from pipelines.layout import Layout

Pieces = list[tuple[str, list[int]]]

GROUPS_A_WORKER = 16
"""Into how many calls a worker's share of the tasks is split: pieces grow with the data, not with the tasks."""

Work = Callable[[IsolatedWorker, int], Json]


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

    def map(self, step: Step, tasks: Sequence[Json], done: Done | None = None) -> list[Json]:
        """Receipts in the order of the tasks; `done` hears of each at once, in this thread."""
        return self._spread(step, len(tasks), lambda worker, i: worker.run(tasks[i]), done)

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
            pieces = self._pieces(step, written, partitions, folder)
            return self._spread(step, len(pieces), lambda worker, i: worker.reduce(*pieces[i]))
        finally:
            shutil.rmtree(folder)

    def _split(self, step: Step, groups: list[Sequence[Json]], partitions: int, folder: Path) -> list[Json]:
        """The receipts of groups of tasks that are split."""
        bundle = exchange.bundle_size(partitions)
        return self._spread(
            step, len(groups), lambda worker, i: worker.split(groups[i], str(folder / f"{i}.arrow"), bundle)
        )

    def _pieces(
        self, step: Step, written: list[Json], partitions: int, folder: Path
    ) -> list[tuple[int, Pieces]]:
        """The pieces of each partition that has rows."""
        pieces = exchange.by_partition(written)
        if exchange.bundle_size(partitions) > 1:
            bundles = list(pieces.values())
            apart = self._spread(
                step,
                len(bundles),
                lambda worker, i: worker.unbundle(bundles[i], str(folder / f"bundle-{i}.arrow")),
            )
            for one in written:
                Path(one["path"]).unlink(missing_ok=True)
            pieces = exchange.by_partition(apart)
        return list(pieces.items())

    def close(self) -> None:
        """End every child."""
        while self._pool:
            self._pool.pop().close()

    def _spread(self, step: Step, count: int, work: Work, done: Done | None = None) -> list[Json]:
        """Do `count` pieces of work over the workers; the first failure ends all and is raised."""
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(count):
            todo.put(index)
        finished: queue.SimpleQueue[tuple[int, Json | BaseException]] = queue.SimpleQueue()
        workers = self._take(step, min(self._workers, count))
        threads = [threading.Thread(target=_serve, args=(w, step, work, todo, finished)) for w in workers]
        receipts: list[Json] = [{} for _ in range(count)]
        try:
            for thread in threads:
                thread.start()
            for _ in range(count):
                index, outcome = finished.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                receipts[index] = outcome
                if done:
                    done(index, outcome)
        except BaseException:
            for worker in workers:
                worker.stop()
            _join(threads)
            # those whose thread was never started
            for worker in workers:
                worker.close()
            raise
        _join(threads)
        self._pool += workers
        return receipts

    def _take(self, step: Step, count: int) -> list[IsolatedWorker]:
        while len(self._pool) < count:
            self._pool.append(IsolatedWorker(step, self._rows))
        taken, self._pool = self._pool[:count], self._pool[count:]
        return taken


def _join(threads: Sequence[threading.Thread]) -> None:
    """Waits for those threads that were started: an interrupt may come before all are."""
    for thread in threads:
        if thread.is_alive():
            thread.join()


def _serve(
    worker: IsolatedWorker,
    step: Step,
    work: Work,
    todo: "queue.SimpleQueue[int]",
    finished: "queue.SimpleQueue[tuple[int, Json | BaseException]]",
) -> None:
    """One thread's loop: take work, do it in its child, report; the first failure ends it."""
    index = -1
    try:
        worker.use(step)
        while True:
            index = todo.get_nowait()
            finished.put((index, work(worker, index)))
    except queue.Empty:
        return
    except Stopped:
        worker.close()
    except BaseException as failure:  # noqa: BLE001 - raised again in the driver's thread
        worker.close()
        finished.put((index, failure))


def default_workers() -> int:
    """As many workers as this process may use cores."""
    return len(os.sched_getaffinity(0))
