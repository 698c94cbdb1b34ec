"""The child process in which every task runs, whichever engine started it.

    python -m pipelines.engines.child SOCKET_FD ROW_FD LIFELINE_FD

It publishes the number of the row it is about to touch in shared memory, and what runs (the decoder, a filter, …), so
that its parent knows which row killed it, and where. The kernel keeps the row's deadline: a timer over the process's
CPU time (and a long one over the clock) whose signal, left at its default, ends a process that spins inside a C call,
even when nobody is left to watch it. Messages are JSON, each behind its length, over one socket.
"""

import fcntl
import json
import logging
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import traceback
from typing import Any

import pyarrow as pa

from pipelines.engines import exchange
from pipelines.engines.step import IDLE, Json, Limits, Step, Watched, load_worker
from schemas import errors
from schemas.doing import listen

HEAD = struct.Struct("<Q")


class WorkerError(RuntimeError):
    """A worker's code failed with something that no user can mend; carries its traceback."""


class WorkerDied(errors.VlcorpusError):
    """A worker's process died again and again where no row could be blamed."""


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message whole."""
    body = json.dumps(message).encode()
    channel.sendall(HEAD.pack(len(body)) + body)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message, or None where the other side has gone."""
    head = _exactly(channel, HEAD.size)
    if head is None:
        return None
    body = _exactly(channel, HEAD.unpack(head)[0])
    return None if body is None else dict(json.loads(body))


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    buffer = bytearray()
    while len(buffer) < size:
        try:
            piece = channel.recv(min(size - len(buffer), 1 << 20))
        except ConnectionError:
            return None
        if not piece:
            return None
        buffer += piece
    return bytes(buffer)


def rebuild(failure: dict[str, str]) -> Exception:
    """The exception that a child reported: its own class where it is of our tree."""
    kind = WorkerDied if failure["class"] == "WorkerDied" else getattr(errors, failure["class"], None)
    if isinstance(kind, type) and issubclass(kind, errors.VlcorpusError):
        return kind(*failure["message"].split("\n"))
    return WorkerError(failure["traceback"])


ROW = struct.Struct("<q")
DOING = struct.Struct("64p")
"""What runs, cut to 63 bytes; it lies behind the row and the count of rows."""
SHARED = 2 * ROW.size + DOING.size
"""Bytes of the memory that a child shares with its parent."""


class Published:
    """The row at hand, in memory shared with the parent, and its deadline."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SHARED)
        self._limits = Limits()
        self._count = 0
        self._last = IDLE

    def begin(self, limits: Limits) -> None:
        """From now on rows have these limits."""
        self._limits = limits
        self(IDLE)

    def start(self) -> None:
        """From now on rows are those of another request."""
        self._count, self._last = 0, IDLE

    def __call__(self, row: int) -> None:
        # rows come in order; one may be touched several times
        if row > self._last:
            self._count, self._last = self._count + 1, row
        ROW.pack_into(self._memory, 0, row)
        ROW.pack_into(self._memory, ROW.size, self._count)
        armed = row != IDLE
        signal.setitimer(signal.ITIMER_PROF, self._limits.row_cpu_seconds if armed else 0)
        signal.setitimer(signal.ITIMER_REAL, self._limits.row_wall_seconds if armed else 0)

    def doing(self, what: str) -> None:
        """Publishes what runs now; "" for nothing in particular."""
        DOING.pack_into(self._memory, 2 * ROW.size, what.encode())


class Child:
    """Serves one parent until it goes away."""

    def __init__(self, channel: socket.socket, at: Published) -> None:
        self._channel = channel
        self._at = at
        self._worker: Watched | None = None

    def serve(self) -> None:
        while (message := receive(self._channel)) is not None:
            self._at.start()
            try:
                reply = {"receipt": self._do(message)}
            except MemoryError:
                os._exit(OUT_OF_MEMORY)
            except Exception as failure:  # noqa: BLE001 - the parent raises it again
                reply = {"failure": describe(failure)}
            self._at(IDLE)
            send(self._channel, reply)
        self._release()

    def _do(self, message: Json) -> Json:
        match message["do"]:
            case "load":
                step = message["step"]
                limits = Limits(**step["limits"])
                restrict(limits)
                self._release()
                self._worker = load_worker(
                    Step(step["name"], step["worker"], step["setup"], kept=step["kept"])
                )
                self._at.begin(limits)
                return {}
            case "run":
                return self._loaded().run(message["task"], self._at)
            case "split":
                pieces = (
                    piece for task in message["tasks"] for piece in self._loaded().split(task, self._at)
                )
                return exchange.write(pieces, message["path"], message["bundle"]) | {
                    "scratch": self._loaded().left()
                }
            case "unbundle":
                return exchange.write(exchange.unbundled(message["pieces"]), message["path"])
            case "reduce":
                table = exchange.read(message["pieces"])
                return self._loaded().reduce(message["partition"], table)
            case other:
                raise ValueError(f"unknown request {other!r}")

    def _loaded(self) -> Watched:
        if self._worker is None:
            raise ValueError("a request before a worker was loaded")
        return self._worker

    def _release(self) -> None:
        if self._worker is not None:
            self._worker.close()


OUT_OF_MEMORY = 77
"""The exit code of a child that met its memory limit in a way that Python could still report."""


def describe(failure: Exception) -> dict[str, str]:
    """A failure as text: its class, its sentence, and its traceback for those that need one."""
    text = "".join(traceback.format_exception(failure))
    return {"class": type(failure).__name__, "message": str(failure), "traceback": text}


def restrict(limits: Limits) -> None:
    """Hold this process to its limits: private memory, no core file, its share of threads."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # 0: no limit, for models whose device drivers map far more than they use
    asked = limits.memory_bytes or resource.RLIM_INFINITY
    wanted = asked if hard == resource.RLIM_INFINITY else min(asked, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    pa.set_cpu_count(limits.threads)
    pa.set_io_thread_count(max(limits.threads, 1))


def watch(lifeline: int) -> None:
    """Have the kernel end this process when the parent is gone: its end of the pipe closes with it.

    By a signal, since a thread of ours would have to wait for a C call that keeps the interpreter.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(0)


def hush() -> None:
    """Send what C libraries write to descriptor 2 nowhere: libtiff reports every broken image there, without a
    name, between the lines of the progress, and so does Pillow's log. Python's own standard error stays; failures
    go by the socket."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def main() -> None:
    """Serve the parent whose socket, shared memory and lifeline are given by number."""
    channel_fd, row_fd, lifeline = (int(argument) for argument in sys.argv[1:4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch(lifeline)
    hush()
    at = Published(row_fd)
    listen(at.doing)
    Child(socket.socket(fileno=channel_fd), at).serve()


if __name__ == "__main__":
    main()
