"""What an engine is given: a step, and tasks that are plain data.

A step names a worker class and its settings; a task is a JSON-able dict. Nothing is pickled, so the
same step travels to a local child, a Ray actor or a Beam bundle as text.
"""

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt
import pyarrow as pa

from pipelines.layout import Layout
from pipelines.outputs import believing, check_whole, witnessed

Json = dict[str, Any]
"""A JSON object: what tasks, settings and receipts are."""

Verdict = tuple[str, str]
"""Why a row was given up: a kind (pipelines/verdicts.py), and a message, "" for that of the kind; in JSON a list."""

At = Callable[[int], None]
"""Called with the number of the row that is about to be touched; IDLE when none is, SEVERAL for a batch."""

IDLE = -1
SEVERAL = -2


Rows = Callable[[int], None]
"""Called with how many rows are to be added to those of the phase.

Negative where a task's receipt counts fewer rows than were begun: rows out of the sample, the end of a shard.
"""


@dataclass(frozen=True)
class Limits:
    """What one row, and one worker's child process, may use before it is stopped."""

    row_cpu_seconds: float = 60.0
    row_wall_seconds: float = 600.0
    memory_bytes: int = 8 * 1024**3
    threads: int = 1


@dataclass(frozen=True)
class Resources:
    """What one worker of a step needs from a cluster."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Step:
    """One phase's work: `worker` is "module:Class", made once a process with `setup`, then run task by task.

    For a map it has `run(task: Json, at: At) -> Json`, which writes the task's output whole and returns a small
    receipt. For a shuffle it has `split(task, at) -> Iterator[tuple[int, pa.Table]]`, the task's rows in pieces, each
    with its partition; and `reduce(partition, table) -> Json`, which does a partition, whose rows come in any order.
    """

    name: str
    worker: str
    setup: Json = field(default_factory=dict)
    limits: Limits = Limits()
    resources: Resources = Resources()
    twice: bool = True
    """Whether a task that is late may run a second time, beside the first.

    Not one that asks others' servers, nor one that changes what it reads.
    """
    kept: bool = False
    """Whether receipts describe the files too that later steps read (`scratch`)."""

    def to_text(self) -> str:
        """Returns the step as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Step":
        """Returns the step that `to_text` wrote."""
        record = json.loads(text)
        limits, resources = Limits(**record.pop("limits")), Resources(**record.pop("resources"))
        return cls(**record, limits=limits, resources=resources)


Piece: TypeAlias = "tuple[int | npt.NDArray[Any], pa.Table]"
"""Rows on their way: with the partition of all of them, or with that of each."""

Done = Callable[[int, Json], None]
"""Called in the driver with a task's index and its receipt, as soon as there is one."""

Kept = Callable[[list[Json]], None]
"""Called in the driver with the descriptions of scratch files that splits wrote: twice where a split is done twice."""


class Engine(Protocol):
    """Runs a step's tasks; never sees a row."""

    def open(self, layout: Layout) -> None:
        """Get ready for one corpus; InputError where the workers could not reach its folder."""

    def map(
        self, step: Step, tasks: Sequence[Json], done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Receipts in the order of the tasks; these have `weights` (bytes or rows), or are alike."""

    def shuffle(
        self, step: Step, tasks: Sequence[Json], partitions: int, kept: Kept | None = None
    ) -> list[Json]:
        """Receipts of the partitions that hold rows, in partition order; `kept` hears what splits left on disk."""

    def close(self) -> None:
        """End every process that the engine started."""


class Watched:
    """A worker whose receipts list the files that it wrote (`outputs`); its tasks may say what they read (`believed`).

    `believed` has the digests of these files by path. A table is held against its digest where it is read; anything
    else, here. Raises DamagedError where a file holds other bytes.

    Where it `keeps`, receipts describe scratch files too (`scratch`).
    """

    def __init__(self, worker: Any, layout: Layout | None, keeps: bool = False) -> None:
        self._worker = worker
        self._layout = layout
        self._keeps = keeps
        self._kept: list[Json] = []

    def run(self, task: Json, at: At) -> Json:
        """Returns the receipt of one map task."""
        believed: dict[str, str] = task.get("believed", {})
        if self._layout is not None:
            others = {path: one for path, one in believed.items() if not path.endswith(".parquet")}
            check_whole(self._layout.store, others)
        with believing(believed):
            return self._witnessed(lambda: self._worker.run(task, at))

    def split(self, task: Json, at: At) -> Iterator[Piece]:
        """Yields the pieces of one shuffle task."""
        with believing(task.get("believed", {})), witnessed(self._kept if self._keeps else None):
            yield from self._worker.split(task, at)

    def left(self) -> list[Json]:
        """Returns the descriptions of the scratch files that splits wrote since it was asked last."""
        kept, self._kept = self._kept, []
        return kept

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Returns the receipt of one partition."""
        return self._witnessed(lambda: self._worker.reduce(partition, table))

    def _witnessed(self, work: Callable[[], Json]) -> Json:
        """Returns the receipt of some work, with what it wrote."""
        kept: list[Json] = []
        with witnessed(kept if self._keeps else None) as written:
            receipt = work()
        return receipt | {name: files for name, files in (("outputs", written), ("scratch", kept)) if files}

    def close(self) -> None:
        """Ends what the worker holds beyond memory, a browser for one: a worker that has such a thing has a `close`."""
        if hasattr(self._worker, "close"):
            self._worker.close()


def named(place: str) -> Any:
    """Returns the function or class that a text names as "module:name"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def load_worker(step: Step) -> Watched:
    """Returns the step's worker, made with its settings."""
    layout = step.setup.get("layout")
    return Watched(named(step.worker)(step.setup), Layout(**layout) if layout else None, step.kept)


def grouped(tasks: Sequence[Json], count: int) -> list[Sequence[Json]]:
    """Returns the tasks in at most `count` runs of about equal length, in their order."""
    size = max(1, -(-len(tasks) // count))
    return [tasks[first : first + size] for first in range(0, len(tasks), size)]
