"""An object store that fails: a proxy before a real one, whose faults follow from a seed."""

import http.client
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

STALLS = 2.0
"""Seconds for which a stalled answer keeps a client waiting: longer than its `read_timeout`."""


@dataclass
class Faults:
    """What goes wrong, request by request: `share` of them have a fault, of one of `kinds`.

    `storm`: the number of the request from which on `lasts` requests are answered by 503.
    """

    seed: int
    share: float = 0.1
    kinds: tuple[str, ...] = ("error", "reset", "cut", "slow", "stall", "stale", "lost")
    storm: int | None = None
    lasts: int = 40
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    listings: dict[str, tuple[int, list[tuple[str, str]], bytes]] = field(default_factory=dict)

    def next(self) -> str:
        """The fault of the next request; of equal seeds the n-th request has the same."""
        with self.lock:
            self.requests += 1
            number = self.requests
        if self.storm is not None and self.storm <= number < self.storm + self.lasts:
            return "error"
        draw = random.Random(f"{self.seed}-{number}")
        return draw.choice(self.kinds) if draw.random() < self.share else ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults
    behind: str

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.faults.next()
        if fault == "error":
            return self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
        if fault == "reset":
            return self._reset()
        if fault in ("slow", "stall"):
            threading.Event().wait(STALLS if fault == "stall" else 0.05)
        is_listing = self.command == "GET" and "list-type=2" in self.path
        if fault == "stale" and is_listing and self.path in self.faults.listings:
            return self._answer(*self.faults.listings[self.path])
        status, headers, found = self._forward(body)
        if is_listing:
            self.faults.listings.setdefault(self.path, (status, headers, found))
        if fault == "lost":  # the store did it, and the client never hears of it
            return self._reset()
        self._answer(status, headers, found, cut=fault == "cut")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.behind, timeout=30)
        try:
            connection.request(
                self.command, self.path, body, {name: self.headers[name] for name in self.headers}
            )
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", str(len(body)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # the client went away, or this side reset the connection
            super().handle()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_: Any) -> None: ...


_SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>'
)


@contextmanager
def before(endpoint: str, faults: Faults) -> Iterator[str]:
    """The address of a proxy before an object store, for as long as the block lasts."""
    handler = type("Handler", (_Handler,), {"faults": faults, "behind": urlsplit(endpoint).netloc})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
