"""The pool of hosts: started once, kept from step to step, and made whole again when a host is lost.

Where no call is left, one that is late is given to a second host (pipelines/engines/pace.py).

A host is a Ray actor that runs the driver's calls, one after another, in the isolated child that it keeps. Ray
retries nothing: a call whose host or node died goes back to the front of the queue, and a new host is asked for at
once. What a worker raises is part of a call's outcome, as data, so that Ray never sees a failure of ours:
{"receipt": …}, {"failure": …} or, where pieces of a partition are lost, {"lost": [their places]}.
"""

import json
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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

    def map(self, step: str, task: str) -> str:
        """Runs one task; returns its outcome, and whether it gave up a row (`blamed`)."""
        worker = self._serving(step)
        return _outcome(lambda: worker.run(json.loads(task)), lambda: {"blamed": worker.blamed})

    def split(self, step: str, tasks: str, partitions: int) -> Iterator[str | bytes | None]:
        """Yields the outcome of some tasks, then their rows partition by partition; None where there are none."""
        with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder:
            pieces: dict[int, list[tuple[str, list[int]]]] = {}

            def work() -> Json:
                written = self._serving(step).split(json.loads(tasks), str(Path(folder) / "pieces.arrow"))
                pieces.update(exchange.by_partition([written]))
                return {"partitions": sorted(pieces), "scratch": written["scratch"]}

            yield _outcome(work)
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
        return json.dumps({"lost": lost}) if lost else outcome

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


def _outcome(work: Callable[[], Json], more: Callable[[], Json] = dict) -> str:
    """Does the work; returns its receipt with `more`, or what it raised, as JSON."""
    try:
        return json.dumps({"receipt": work(), **more()})
    except Exception as failure:  # noqa: BLE001 - raised again in the driver
        return json.dumps({"failure": describe(failure)})


RETRIES = 3
"""How often a call that lost its host, or a partition that lost a piece, is done again."""

PATIENCE = 300.0
"""Seconds that a cluster may take to start a host where no other one works."""

LAST_BREATH = 5.0
"""Seconds for which a step waits until the hosts that it has ended are gone."""

LOST = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)
"""What Ray raises of a call whose host or node is gone."""

HOST = ray.remote(Host)

Submit = Callable[[Any, int], Any]
"""Sends the call of that index to a host; returns the reference of its outcome."""

Receive = Callable[[int, Json, Any], None]
"""Takes the index of a call, its outcome and the reference that this had."""


@dataclass
class Run:
    """The calls of one step: which are left, who is at which, and how long they take."""

    phase: str
    left: "deque[int]"
    twice: bool
    busy: dict[Any, "Call"] = field(default_factory=dict)
    """By the reference of its outcome."""
    pace: Pace = field(default_factory=Pace)
    losses: Counter[int] = field(default_factory=Counter)
    again: set[int] = field(default_factory=set)
    """The calls that were given to a second host."""

    def next(self) -> int | None:
        """Returns the call that an idle host is to do; None where there is none now."""
        if self.left:
            return self.left.popleft()
        if self.until_late() != 0:
            return None
        late = min(self._alone(), key=lambda call: call.since).index
        self.again.add(late)
        return late

    def until_late(self) -> float | None:
        """Returns in how many seconds a call is late; None where that is not known, or of no interest."""
        now = time.monotonic()
        return self.pace.until_late([now - call.since for call in self._alone()]) if self.twice else None

    def _alone(self) -> list["Call"]:
        return [call for call in self.busy.values() if call.index not in self.again]

    def others(self, index: int) -> list[Any]:
        """Returns the references of the same call that are not over."""
        return [ref for ref, call in self.busy.items() if call.index == index]

    def counts(self, call: "Call", outcome: Json) -> bool:
        """Returns whether an outcome is that of the call, though another host may still be at it.

        A failure is not, nor what the second host blames a row for.
        """
        rest = [self.busy[ref].since for ref in self.others(call.index)]
        return not rest or not ("failure" in outcome or (outcome.get("blamed") and call.since > min(rest)))


@dataclass(frozen=True)
class Call:
    """A call that a host is at."""

    host: Any
    index: int
    since: float


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
        self, phase: str, calls: Iterable[int], submit: Submit, receive: Receive, twice: bool = True
    ) -> None:
        """Has hosts do all calls, given by index; `receive` gets each outcome once, as soon as there is one.

        The first exception, a caller's own included, ends the hosts that are still at work. `twice`: a call that is
        late may be given to a second host.
        """
        run, ended = Run(phase, deque(calls), twice), list[Any]()
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
                index, outcome = self._collect(ref, run, ended)
                # before the receiver takes its time
                self._assign(run, submit)
                if outcome is not None:
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
        while self._idle and (index := run.next()) is not None:
            host = self._idle.pop()
            run.busy[submit(host, index)] = Call(host, index, time.monotonic())

    def _next(self, run: Run) -> Any:
        """Returns the reference of a call that is over or of a host that is up, as soon as there is one.

        None where a call is late by then and a host idle.
        """
        patience = (run.until_late() if self._idle else None) if run.busy else PATIENCE
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

    def _collect(self, ref: Any, run: Run, ended: list[Any]) -> tuple[int, Json | None]:
        """Returns a call's index and outcome (None where there is none yet); raises what the worker raised.

        Hosts that are at the same call, which is done, are ended.
        """
        call = run.busy.pop(ref)
        try:
            outcome: Json = json.loads(ray.get(ref))
        except LOST:
            self._lose(call, run)
            return call.index, None
        self._idle.append(call.host)
        if not run.counts(call, outcome):
            return call.index, None
        if "failure" in outcome:
            raise rebuild(outcome["failure"])
        run.pace.note(time.monotonic() - call.since)
        for other in run.others(call.index):
            ray.kill(run.busy.pop(other).host)
            ended.append(other)
            self._start()
        return call.index, outcome

    def _lose(self, call: Call, run: Run) -> None:
        """Asks for another host; its call is done again, unless a second host is at it."""
        # it may be out of reach only
        ray.kill(call.host)
        self._start()
        if not run.others(call.index):
            run.losses[call.index] += 1
            _bounded(run.phase, run.losses[call.index])
            run.left.appendleft(call.index)


def _bounded(phase: str, losses: int) -> None:
    """Raises WorkerDied where a call lost its host once too often."""
    if losses > RETRIES:
        raise WorkerDied(
            f"phase {phase}: the Ray cluster lost a worker {losses} times over the same task: see to its nodes "
            "and their memory, then run the same command again to go on"
        )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
