"""The pool of hosts: started once, kept from step to step, and made whole again when a host is lost.

Ray retries nothing. A call whose host or node died goes back to the front of the queue; a new host is asked
for at once, and gets work as soon as it answers.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from pipelines.engines.ray_host import Host
from pipelines.engines.step import Json, Resources
from pipelines.engines.wire import WorkerDied, rebuild
from schemas.errors import InputError, OutputError

RETRIES = 3
"""How often a call that lost its host, or a partition that lost a piece, is done again."""

PATIENCE = 300.0
"""Seconds that a cluster may take to start a host where no other one works."""

LOST = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)
"""What Ray raises of a call whose host or node is gone."""

HOST = ray.remote(Host)

Submit = Callable[[Any, int], Any]
"""Sends the call of that index to a host; returns the reference of its outcome."""

Receive = Callable[[int, Json], None]
"""Called in the driver with a call's index and its outcome."""


class Pool:
    """Hosts that each have the same share of the cluster; every host does one call at a time."""

    def __init__(self) -> None:
        self._resources = Resources()
        self._idle: list[Any] = []
        self._starting: dict[Any, tuple[Any, int]] = {}
        """By the reference that says a host is up: the host, and how many before it did not come up."""
        self._busy: dict[Any, tuple[Any, int]] = {}

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

    def run(self, phase: str, calls: Iterable[int], submit: Submit, receive: Receive) -> None:
        """Has hosts do all calls, given by index; `receive` gets each outcome once, as soon as there is one.

        The first exception, a caller's own included, ends the hosts that are still at work.
        """
        left, losses = deque(calls), Counter[int]()
        try:
            self._assign(left, submit)
            while left or self._busy:
                ref = self._next(phase)
                if ref in self._starting:
                    self._welcome(ref, phase)
                    self._assign(left, submit)
                    continue
                index, outcome = self._collect(ref)
                if outcome is None:
                    losses[index] += 1
                    _bounded(phase, losses[index])
                    left.appendleft(index)
                # before the receiver takes its time
                self._assign(left, submit)
                if outcome is not None:
                    receive(index, outcome)
        except (ObjectStoreFullError, OutOfDiskError) as error:
            raise OutputError(
                f"phase {phase}: a node of the Ray cluster has no room left for what passes between two steps: "
                "make room on its disk, then run the same command again to go on"
            ) from error
        finally:
            while self._busy:
                ray.kill(self._busy.popitem()[1][0])

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

    def _assign(self, left: "deque[int]", submit: Submit) -> None:
        while left and self._idle:
            host, index = self._idle.pop(), left.popleft()
            self._busy[submit(host, index)] = (host, index)

    def _next(self, phase: str) -> Any:
        """Returns the reference of a call that is over or of a host that is up, as soon as there is one."""
        ready, _ = ray.wait([*self._busy, *self._starting], timeout=None if self._busy else PATIENCE)
        if not ready:
            raise InputError(
                f"phase {phase}: the Ray cluster started no worker within {PATIENCE:g} s: other jobs may hold "
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

    def _collect(self, ref: Any) -> tuple[int, Json | None]:
        """Returns a call's index and outcome (None where its host was lost); raises what the worker raised."""
        host, index = self._busy.pop(ref)
        try:
            outcome: Json = json.loads(ray.get(ref))
        except LOST:
            # it may be out of reach only
            ray.kill(host)
            self._start()
            return index, None
        self._idle.append(host)
        if "failure" in outcome:
            raise rebuild(outcome["failure"])
        return index, outcome


def _bounded(phase: str, losses: int) -> None:
    """Raises WorkerDied where a call lost its host once too often."""
    if losses > RETRIES:
        raise WorkerDied(
            f"phase {phase}: the Ray cluster lost a worker {losses} times over the same task: see to its nodes "
            "and their memory, then run the same command again to go on"
        )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
