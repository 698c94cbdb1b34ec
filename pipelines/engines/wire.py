"""Messages between a worker and its child: JSON, each behind its length, over one socket."""

import json
import socket
import struct
from typing import Any

from schemas import errors

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
        return kind(failure["message"])
    return WorkerError(failure["traceback"])
