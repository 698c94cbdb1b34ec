"""The inline engine: the same workers in the caller's own process, without child processes.

For notebooks, debuggers and tests. It has no isolation: a row that crashes the process, hangs or eats memory does
so here, and no limit of `resources` holds. Verdicts of earlier runs are honoured; new ones are never made.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipelines.engines.exchange import sliced
from pipelines.engines.step import IDLE, Done, Json, Kept, Piece, Rows, Step, Watched, load_worker
from pipelines.layout import Layout
from schemas.errors import VlcorpusError


class InlineEngine:
    """Runs steps in the caller's process and thread, task by task; `rows` hears of each receipt's rows."""

    def __init__(self, rows: Rows | None = None) -> None:
        self._rows = rows
        self._worker: Watched | None = None
        self._loaded: Step | None = None

    def open(self, layout: Layout) -> None:
        """Needs no preparation: the caller's process sees the corpus's folder."""

    def map(
        self, step: Step, tasks: Sequence[Json], done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Returns the receipts in the order of the tasks, in which they are done; calls `done` after each."""
        receipts = []
        with self._loaded_worker(step) as worker:
            for index, task in enumerate(tasks):
                asked = {**task, "verdicts": task.get("verdicts", {}), "careful": False}
                with _Task(step, task) as row:
                    receipt = worker.run(_plain(asked), row)
                receipts.append(_plain({**receipt, "verdicts": asked["verdicts"]}))
                if self._rows:
                    self._rows(int(receipt.get("rows", 0)))
                if done:
                    done(index, receipts[-1])
        return receipts

    def shuffle(
        self, step: Step, tasks: Sequence[Json], partitions: int, kept: Kept | None = None
    ) -> list[Json]:
        """Returns the receipts of the partitions that hold rows, in partition order."""
        pieces: dict[int, list[pa.Table]] = {}
        receipts = []
        with self._loaded_worker(step) as worker:
            for task in tasks:
                with _Task(step, task) as row:
                    _gather(worker.split(_plain(task), row), pieces)
            if kept:
                kept(worker.left())
            for partition in sorted(pieces):
                with _Task(step, {"partition": partition}):
                    table = pa.concat_tables(pieces.pop(partition))
                    receipts.append(_plain(worker.reduce(partition, table)))
        return receipts

    def close(self) -> None:
        """Lets the worker go, with the models and browsers that it holds."""
        if self._worker is not None:
            self._worker.close()
        self._worker = self._loaded = None

    @contextmanager
    def _loaded_worker(self, step: Step) -> Iterator[Watched]:
        """The step's worker, which is kept while the step stays the same.

        Libraries get the step's number of threads: with more than one, BLAS takes twice the time of the hashes'
        small matrices.
        """
        if self._worker is None or self._loaded != step:
            self.close()
            self._worker, self._loaded = load_worker(step), step
        with threadpool_limits(step.limits.threads):
            yield self._worker


class _Task:
    """One task at hand: names task and row in a programmer's error."""

    def __init__(self, step: Step, task: Json) -> None:
        self._step, self._task = step, task
        self._row = IDLE

    def __call__(self, row: int) -> None:
        self._row = row

    def __enter__(self) -> "_Task":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, VlcorpusError):
            task = self._task.get("shard") or self._task.get("partition") or "a task"
            row = f", row {self._row} (from 0)" if self._row >= 0 else ""
            error.add_note(f"in phase {self._step.name}, {task}{row}")


def _gather(found: Iterable[Piece], pieces: dict[int, list[pa.Table]]) -> None:
    for partition, table in sliced(found):
        pieces.setdefault(partition, []).append(table)


def _plain(record: Json) -> Json:
    """Returns what JSON makes of a record, as it passes between processes on the other engines."""
    plain: Json = json.loads(json.dumps(record))
    return plain
