"""A worker whose tasks run in a child process that may die, hang or eat memory without harm.

The same on every engine. When the child dies the row it had published is tried alone, in a fresh
child each time; only a row that fails alone three times is blamed, or at once where it used up its
CPU time again. Its verdict goes into the task, so that the next child passes it by, and comes back in the receipt.
"""

import mmap
import os
import select
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipelines.engines.child import DOING, OUT_OF_MEMORY, ROW, SHARED, WorkerDied, rebuild, receive, send
from pipelines.engines.step import IDLE, Json, Limits, Rows, Step, Verdict

TRIES = 3
"""How often a row must fail alone, and a task without a culprit, before it is given up."""

DEATHS = {"crash": "it crashed", "deadline": "it took too long", "out_of_memory": "it ran out of memory"}

STDERR = 2


@dataclass(frozen=True)
class Death:
    """How a child ended: the row it had published (-1: none) and what the kernel said."""

    row: int
    kind: str
    used_up: bool = False
    """Whether the row had taken all of its CPU time."""
    message: str = ""
    """Which limit was met, and what ran then, as far as it is known."""

    @property
    def verdict(self) -> Verdict:
        """What the row is blamed for."""
        return self.kind, self.message


class Stopped(Exception):
    """The driver has called the work off."""


class IsolatedWorker:
    """Runs a step's tasks in a child process, and in a new one after each death."""

    def __init__(self, step: Step, rows: Rows | None = None) -> None:
        self._step = step
        self._rows = rows
        self.blamed = False
        """Whether a row was given up in the task that was run last."""
        self._stopped = False
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket
        self._lifeline = -1
        self._loaded: Step | None = None
        self._reported = 0
        self._memory: mmap.mmap

    def run(self, task: Json) -> Json:
        """The receipt of one map task; `verdicts` in it holds the verdict by number of every row blamed."""
        verdicts: dict[str, Verdict] = dict(task.get("verdicts", {}))
        self._reported, self.blamed = 0, False
        deaths: Counter[int] = Counter()
        careful = False
        while True:
            outcome = self._request({"do": "run", "task": {**task, "verdicts": verdicts, "careful": careful}})
            if not isinstance(outcome, Death):
                self._report(int(outcome.get("rows", self._reported)))
                return {**outcome, "verdicts": verdicts}
            deaths[outcome.row] += 1
            # a row that is passed by and kills all the same is not killing by what it holds
            blamed = str(outcome.row) in verdicts
            verdict = self._alone(task, outcome) if outcome.row >= 0 and not blamed else None
            if verdict:
                verdicts[str(outcome.row)], self.blamed = verdict, True
            elif deaths[outcome.row] >= TRIES:
                raise WorkerDied(self._died(task, outcome))
            careful = careful or outcome.row < 0

    def split(self, tasks: Sequence[Json], path: str, bundle: int = 1) -> Json:
        """Split shuffle tasks into pieces, written to `path`, `bundle` partitions in a piece."""
        request: Json = {"do": "split", "tasks": tasks, "path": path, "bundle": bundle}
        return self._retried(request, tasks[0])

    def unbundle(self, pieces: list[tuple[str, list[int]]], path: str) -> Json:
        """Take pieces of several partitions apart, into pieces of one, written to `path`."""
        return self._retried({"do": "unbundle", "pieces": pieces, "path": path}, {})

    def reduce(self, partition: int, pieces: list[tuple[str, list[int]]]) -> Json:
        """Reduce one partition from its pieces."""
        request = {"do": "reduce", "partition": partition, "pieces": pieces}
        return self._retried(request, {"partition": partition})

    def use(self, step: Step) -> None:
        """Go on with another step, in the same child where its limits allow."""
        if step.limits.threads != self._step.limits.threads:
            self.close()
        self._step = step

    def stop(self) -> None:
        """Called from another thread: end the child, so that whoever waits for it raises Stopped."""
        self._stopped = True
        if (child := self._child) is not None:
            child.kill()

    def withdraw(self) -> None:
        """Takes back the rows of the task at hand, which count for nothing, and gets ready for another one."""
        self._report(0)
        if self._stopped:
            self.close()
            self._stopped = False

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._hang_up()

    def _alone(self, task: Json, death: Death) -> Verdict | None:
        """Returns what to blame the row for, if it ends three fresh children when it is tried alone.

        One is enough where the row used up its CPU time, as it did before.
        """
        found = []
        for _ in range(TRIES):
            self.close()
            outcome = self._request({"do": "run", "task": {**task, "only": death.row}})
            if not isinstance(outcome, Death) or outcome.row != death.row:
                return None
            if death.used_up and outcome.used_up:
                # the time that a row takes of the CPU, unlike that of the clock, no other process lengthens
                return outcome.verdict
            found.append(outcome.verdict)
        # the commonest, so that one stray signal from outside does not change the verdict
        return Counter(sorted(found)).most_common(1)[0][0]

    def _retried(self, request: Json, task: Json) -> Json:
        death = Death(IDLE, "crash")
        self._reported, self.blamed = 0, False
        for _ in range(TRIES):
            outcome = self._request(request)
            if not isinstance(outcome, Death):
                return outcome
            death = outcome
        raise WorkerDied(self._died(task, death))

    def _died(self, task: Json, death: Death) -> str:
        what = task.get("shard") or task.get("partition") or "a task"
        why = death.message or DEATHS[death.kind]
        remedy = (
            "raise that limit"
            if death.kind == "deadline"
            else "give it more memory (resources.memory_gb) or the machine fewer --workers"
        )
        return (
            f"the worker of phase {self._step.name} died {TRIES} times on {what} ({why}) where no single row is to "
            f"blame: {remedy}"
        )

    def _request(self, message: Json) -> Json | Death:
        try:
            self._ensure_child()
            if self._stopped:
                self.close()
                raise Stopped
            if self._loaded != self._step:
                self._exchange({"do": "load", "step": asdict(self._step)})
                self._loaded = self._step
            return self._exchange(message)
        except ConnectionError:
            return self._autopsy()

    def _exchange(self, message: Json) -> Json:
        """Send a request and wait for its receipt; ConnectionError where the child is gone."""
        ROW.pack_into(self._memory, ROW.size, 0)
        send(self._channel, message)
        self._wait()
        reply = receive(self._channel)
        if reply is None:
            raise ConnectionResetError
        if "failure" in reply:
            raise rebuild(reply["failure"])
        receipt: Json = reply["receipt"]
        return receipt

    def _wait(self) -> None:
        """Waits for a reply or an end; reports rows meanwhile, one that is tried again only once."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while True:
            ready = poll.poll(250 if self._rows else None)
            self._report(max(ROW.unpack_from(self._memory, ROW.size)[0], self._reported))
            if ready:
                return

    def _report(self, count: int) -> None:
        """Tells that so many rows of the task are begun or, at its end, are in its receipt."""
        if self._rows and count != self._reported:
            self._rows(count - self._reported)
        self._reported = count

    def _ensure_child(self) -> None:
        if self._child is not None and self._child.poll() is None:
            return
        self.close()
        shared = os.memfd_create("vlcorpus-row")
        os.ftruncate(shared, SHARED)
        self._memory = mmap.mmap(shared, SHARED)
        ROW.pack_into(self._memory, 0, IDLE)
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        fds = (theirs.fileno(), shared, lifeline)
        self._channel = ours
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.engines.child", *map(str, fds)],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            # what a library prints is no part of our own output
            stdout=STDERR,
            env=child_environment(self._step),
            # Ctrl-C is for the driver: it would reach a child that is still being imported
            process_group=0,
        )
        theirs.close()
        os.close(lifeline)
        os.close(shared)
        if self._stopped:
            self._child.kill()

    def _autopsy(self) -> Death:
        assert self._child is not None
        code = self._child.wait()
        row = ROW.unpack_from(self._memory, 0)[0]
        doing = DOING.unpack_from(self._memory, 2 * ROW.size)[0].decode(errors="ignore")
        self._hang_up()
        if self._stopped:
            raise Stopped
        message = message_of_death(code, self._step.limits, doing)
        return Death(row, kind_of_death(code), code == -signal.SIGPROF, message)

    def _hang_up(self) -> None:
        self._channel.close()
        self._memory.close()
        os.close(self._lifeline)
        self._child = self._loaded = None


def kind_of_death(code: int) -> str:
    """The row error that an exit code stands for."""
    if code in (-signal.SIGPROF, -signal.SIGALRM, -signal.SIGVTALRM, -signal.SIGXCPU):
        return "deadline"
    # the kernel's out-of-memory killer and this process's own limit
    if code in (-signal.SIGKILL, OUT_OF_MEMORY):
        return "out_of_memory"
    return "crash"


def message_of_death(code: int, limits: Limits, doing: str) -> str:
    """Returns the limit that an exit code stands for, and what ran; "" where neither is known."""
    if code == -signal.SIGPROF:
        what = f"it took more than {limits.row_cpu_seconds:g} seconds of CPU time (resources.row_cpu_seconds)"
    elif code == -signal.SIGALRM:
        what = (
            f"it took more than {limits.row_wall_seconds:g} seconds by the clock (resources.row_wall_seconds)"
        )
    else:
        what = DEATHS[kind_of_death(code)] if doing else ""
    return f"{what}, in {doing}" if doing else what


def child_environment(step: Step) -> dict[str, str]:
    """The parent's environment, its import path, and the step's share of threads."""
    threads = str(step.limits.threads)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    shares = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_IO_THREADS")
    return {**os.environ, **dict.fromkeys(shares, threads), "PYTHONPATH": path}
