"""The pool of hosts: started once, kept from step to step, and made whole again when a host is lost.

A call to a host costs a millisecond, so tiny tasks go out in batches. Where no task is left, one that is late is given
to a second host (pipelines/engines/pace.py); so are those that wait behind it in its batch.

A host is a Ray actor that runs the driver's calls, one after another, in the isolated child that it keeps. Ray
retries nothing: the tasks of a call whose host or node died go back to the front of the queue, each by itself, and a
new host is asked for at once. What a worker raises is part of a task's outcome, as data, so that Ray never sees a
failure of ours: {"receipt": …}, {"failure": …} or, where pieces of a partition are lost, {"lost": [their places]}.
"""

import json
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from pipelines.engines import exchange
from pipelines.engines.child import WorkerDied, describe, rebuild
from pipelines.engines.isolation import IsolatedWorker
from pipelines.engines.pace import Pace
from pipelines.engines.step import Json, Resources, Step
from schemas.errors import InputError, OutputError


class Host:
    """Serves steps and tasks as text; the child is kept from call to call and from step to step."""

    def __init__(self) -> None:
        self._step = ""
        self._worker: IsolatedWorker | None = None

    def ready(self) -> None:
        """Returns as soon as the host can take calls."""

    def map(self, step: str, tasks: str) -> str:
        """Runs tasks up to the first that fails; returns their outcomes: seconds, and whether a row was `blamed`."""
        worker = self._serving(step)
        outcomes: list[Json] = []
        for task in json.loads(tasks):
            since = time.monotonic()
            outcome = _outcome(partial(worker.run, task))
            outcomes.append(outcome | {"blamed": worker.blamed, "seconds": time.monotonic() - since})
            if "failure" in outcome:
                break
        return json.dumps(outcomes)

    def split(self, step: str, tasks: str, partitions: int) -> Iterator[str | bytes | None]:
        """Yields the outcome of some tasks, then their rows partition by partition; None where there are none."""
        with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder:
            pieces: dict[int, list[tuple[str, list[int]]]] = {}

            def work() -> Json:
                written = self._serving(step).split(json.loads(tasks), str(Path(folder) / "pieces.arrow"))
                pieces.update(exchange.by_partition([written]))
                return {"partitions": sorted(pieces), "scratch": written["scratch"]}

            yield json.dumps([_outcome(work)])
            for partition in range(partitions):
                mine = pieces.get(partition)
                yield exchange.to_bytes(exchange.read(mine)) if mine else None

    def reduce(self, step: str, partition: int, pieces: Sequence[Any]) -> str:
        """Reduces a partition, given the references of all its pieces; returns its outcome."""
        # from all nodes at once
        ray.wait(pieces, num_returns=len(pieces))
        lost: list[int] = []
        with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder:

            def work() -> Json:
                mine = exchange.gather(
                    partition, _bodies(pieces, lost), str(Path(folder) / "partition.arrow")
                )
                return {} if lost else self._serving(step).reduce(partition, mine)

            outcome = _outcome(work)
        return json.dumps([{"lost": lost} if lost else outcome])

    def _serving(self, step: str) -> IsolatedWorker:
        """Returns the worker, ready for the step."""
        if self._worker is None:
            self._worker = IsolatedWorker(Step.from_text(step))
        elif step != self._step:
            self._worker.use(Step.from_text(step))
        self._step = step
        return self._worker


def _bodies(pieces: Sequence[Any], lost: list[int]) -> Iterator[bytes]:
    """Yields one piece at a time; notes in `lost` the places of those that Ray has lost."""
    for place, piece in enumerate(pieces):
        try:
            yield ray.get(piece)
        except ObjectLostError:
            lost.append(place)


def _outcome(work: Callable[[], Json]) -> Json:
    """Does the work; returns its receipt, or what it raised."""
    try:
        return {"receipt": work()}
    except Exception as failure:  # noqa: BLE001 - raised again in the driver
        return {"failure": describe(failure)}


RETRIES = 3
"""How often a task that lost its host, or a partition that lost a piece, is done again."""

PATIENCE = 300.0
"""Seconds that a cluster may take to start a host where no other one works."""

LAST_BREATH = 5.0
"""Seconds for which a step waits until the hosts that it has ended are gone."""

LOST = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)
"""What Ray raises of a call whose host or node is gone."""

HOST = ray.remote(Host)

Submit = Callable[[Any, Sequence[int]], Any]
"""Sends the tasks of these indexes to a host, in one call; returns the reference of their outcomes."""

Receive = Callable[[int, Json, Any], None]
"""Takes the index of a task, its outcome and the reference that this had."""


@dataclass(frozen=True)
class Dispatch:
    """The way in which tasks are handed out.

    `twice`: a second time where they are late; `batches`: several in a call; `weights`: of all tasks, the heavy first.
    """

    twice: bool = True
    batches: bool = False
    weights: Sequence[float] = ()


@dataclass
class Run:
    """The tasks of one step: which are left, who is at which, and how long they take."""

    phase: str
    left: "deque[int]"
    dispatch: Dispatch
    busy: dict[Any, "Call"] = field(default_factory=dict)
    """By the reference of its outcomes."""
    done: set[int] = field(default_factory=set)
    losses: Counter[int] = field(default_factory=Counter)
    again: set[int] = field(default_factory=set)
    """The tasks that were given to a second host."""

    def __post_init__(self) -> None:
        self.pace = Pace(self.dispatch.weights)

    def next(self, hosts: int) -> list[int]:
        """Returns the tasks that an idle host, one of so many, is to do; none where there are none now."""
        if self.left:
            # a task that lost its host goes alone, so that it alone is blamed where that happens again
            in_batch = self.dispatch.batches and not self.losses[self.left[0]]
            return self.pace.batch(self.left, hosts) if in_batch else [self.left.popleft()]
        late = self.late()
        if late is None or late[1] > 0:
            return []
        self.again.add(late[0])
        return [late[0]]

    def late(self) -> tuple[int, float] | None:
        """Returns which task is late first, and in how many seconds; None where that is not known, or of no interest.

        Of a batch the last one, to which its host comes last.
        """
        if not self.dispatch.twice:
            return None
        now = time.monotonic()
        ages = (
            (index, now - call.since)
            for call in self.busy.values()
            for index in reversed(call.indexes)
            if index not in self.again and index not in self.done
        )
        return self.pace.first_late(dict(ages))

    def others(self, index: int) -> list[Any]:
        """Returns the references of the calls with that task that are not over."""
        return [ref for ref, call in self.busy.items() if index in call.indexes]

    def counts(self, call: "Call", index: int, outcome: Json) -> bool:
        """Returns whether an outcome is that of the task, though another host may still be at it.

        A failure is not, nor what the second host blames a row for.
        """
        rest = [self.busy[ref].since for ref in self.others(index)]
        return not rest or not ("failure" in outcome or (outcome.get("blamed") and call.since > min(rest)))


@dataclass(frozen=True)
class Call:
    """The tasks that a host is at, one after another."""

    host: Any
    indexes: Sequence[int]
    since: float


_ONE_BY_ONE = Dispatch()


class Pool:
    """Hosts that each have the same share of the cluster; every host does one call at a time."""

    def __init__(self) -> None:
        self._resources = Resources()
        self._idle: list[Any] = []
        self._starting: dict[Any, tuple[Any, int]] = {}
        """By the reference that says a host is up: the host, and how many before it did not come up."""

    def fit(self, resources: Resources, size: int) -> None:
        """Asks for hosts until there are `size`; those that have other resources end first."""
        if resources != self._resources:
            self.close()
            self._resources = resources
        # those of a node that was lost meanwhile do not answer, and so get no call
        while self._idle:
            self._await(self._idle.pop(), 0)
        for _ in range(size - len(self._starting)):
            self._start()

    def share(self, text: str) -> Any:
        """Returns a reference to a text that goes to many calls, so that it travels once to each node."""
        return ray.put(text)

    def run(
        self,
        phase: str,
        tasks: Iterable[int],
        submit: Submit,
        receive: Receive,
        dispatch: Dispatch = _ONE_BY_ONE,
    ) -> None:
        """Has hosts do all tasks, given by index; `receive` gets each outcome once, as soon as there is one.

        The first exception, a caller's own included, ends the hosts that are still at work.
        """
        run, ended = Run(phase, deque(tasks), dispatch), list[Any]()
        try:
            self._assign(run, submit)
            while run.left or run.busy:
                ref = self._next(run)
                if ref is None:
                    self._assign(run, submit)
                    continue
                if ref in self._starting:
                    self._welcome(ref, phase)
                    self._assign(run, submit)
                    continue
                found = self._collect(ref, run, ended)
                # before the receiver takes its time
                self._assign(run, submit)
                for index, outcome in found:
                    if "failure" in outcome:
                        raise rebuild(outcome["failure"])
                    receive(index, outcome, ref)
        except (ObjectStoreFullError, OutOfDiskError) as error:
            raise OutputError(
                f"phase {phase}: a node of the Ray cluster has no room left for what passes between two steps: "
                "make room on its disk, then run the same command again to go on"
            ) from error
        finally:
            while run.busy:
                ray.kill(run.busy.popitem()[1].host)
            if ended:
                ray.wait(ended, num_returns=len(ended), timeout=LAST_BREATH)

    def close(self) -> None:
        """Ends every host."""
        for host in (*self._idle, *(host for host, _ in self._starting.values())):
            ray.kill(host)
        self._idle, self._starting = [], {}

    def _start(self, failed: int = 0) -> None:
        wanted = self._resources
        actor = HOST.options(
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus,
            memory=wanted.memory_bytes or None,
            max_restarts=0,
            max_task_retries=0,
        )
        self._await(actor.remote(), failed)

    def _await(self, host: Any, failed: int) -> None:
        self._starting[host.ready.remote()] = (host, failed)

    def _assign(self, run: Run, submit: Submit) -> None:
        hosts = len(self._idle) + len(self._starting) + len(run.busy)
        while self._idle and (indexes := run.next(hosts)):
            host = self._idle.pop()
            run.busy[submit(host, indexes)] = Call(host, indexes, time.monotonic())

    def _next(self, run: Run) -> Any:
        """Returns the reference of a call that is over or of a host that is up, as soon as there is one.

        None where a task is late by then and a host idle.
        """
        late = run.late() if self._idle else None
        patience = (late and late[1]) if run.busy else PATIENCE
        ready, _ = ray.wait([*run.busy, *self._starting], timeout=patience)
        if not ready and run.busy:
            return None
        if not ready:
            raise InputError(
                f"phase {run.phase}: the Ray cluster started no worker within {PATIENCE:g} s: other jobs may hold "
                "its CPUs (`ray status` says so); run the same command again to go on"
            )
        return ready[0]

    def _welcome(self, ref: Any, phase: str) -> None:
        """Takes in a host that is up, or asks for another one where it is gone."""
        host, failed = self._starting.pop(ref)
        try:
            ray.get(ref)
        except LOST as error:
            if getattr(error, "actor_init_failed", False) or failed == RETRIES:
                raise InputError(
                    f"phase {phase}: a worker cannot start on the Ray cluster ({_last_line(error)}): every node "
                    "needs the same versions of vlcorpus and its dependencies (docs/ray.md)"
                ) from error
            self._start(failed + 1)
        else:
            self._idle.append(host)

    def _collect(self, ref: Any, run: Run, ended: list[Any]) -> list[tuple[int, Json]]:
        """Returns the tasks of a call that are done, with their outcomes; the last one may be a failure.

        Hosts whose tasks are all done are ended.
        """
        call = run.busy.pop(ref)
        try:
            outcomes: list[Json] = json.loads(ray.get(ref))
        except LOST:
            self._lose(call, run)
            return []
        self._idle.append(call.host)
        found = [
            (index, outcome)
            for index, outcome in zip(call.indexes, outcomes, strict=False)
            if index not in run.done and run.counts(call, index, outcome)
        ]
        for index, outcome in found:
            run.done.add(index)
            run.pace.note(index, outcome.get("seconds", time.monotonic() - call.since))
        # behind a failure that does not count
        self._give_back(call.indexes[len(outcomes) :], run)
        for other in [ref for ref, one in run.busy.items() if run.done.issuperset(one.indexes)]:
            ray.kill(run.busy.pop(other).host)
            ended.append(other)
            self._start()
        return found

    def _lose(self, call: Call, run: Run) -> None:
        """Asks for another host; its tasks are done again, unless a second host is at them."""
        # it may be out of reach only
        ray.kill(call.host)
        self._start()
        for index in self._give_back(call.indexes, run):
            run.losses[index] += 1
            _bounded(run.phase, run.losses[index])

    def _give_back(self, indexes: Sequence[int], run: Run) -> list[int]:
        """Puts those tasks to the front of the queue that are not done and that no host is at; returns them."""
        back = [index for index in indexes if index not in run.done and not run.others(index)]
        run.left.extendleft(reversed(back))
        return back


def _bounded(phase: str, losses: int) -> None:
    """Raises WorkerDied where a task lost its host once too often."""
    if losses > RETRIES:
        raise WorkerDied(
            f"phase {phase}: the Ray cluster lost a worker {losses} times over the same task: see to its nodes "
            "and their memory, then run the same command again to go on"
        )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
