"""A web server on loopback for tests of the fetch: good images, and every unkindness that a host can do.

Real sockets, TLS by an authority of its own, HTTP/2, and a DNS server for names below `.test`. It counts requests.
"""

import asyncio
import gzip
import io
import ssl
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from pathlib import Path

import brotli
import dns.message
import dns.rrset
import numpy as np
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from PIL import Image

HOST = "127.0.0.2"
"""Where the server listens: 127.0.0.1 stays an address that no test allows."""


@cache
def image(number: int, form: str = "JPEG", quality: int = 90) -> bytes:
    """Returns an image of 256 x 224 pixels; equal numbers give equal images, others look different."""
    blocks = np.random.default_rng(number).integers(0, 255, (7, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    options = {"quality": quality} if form == "JPEG" else {}
    Image.fromarray(blocks).resize((256, 224), Image.Resampling.BICUBIC).save(out, form, **options)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png() -> bytes:
    """Returns a small file that announces 50,000 x 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + _chunk(b"IEND", b"")
    )


def animated_gif() -> bytes:
    """Returns a GIF of three frames."""
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 100, 200)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0)
    return out.getvalue()


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
HTML = b"<!DOCTYPE html><html><body>image not available</body></html>"


@dataclass
class Asked:
    """One request, and what it is answered through."""

    server: "Server"
    path: str
    host: str
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(
        self, body: bytes = b"", code: str = "200 OK", length: int | None = None, **headers: str
    ) -> None:
        """Sends one whole answer; `length` is what it announces, where that is not the truth."""
        announced = len(body) if length is None else length
        lines = [f"HTTP/1.1 {code}", f"Content-Length: {announced}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def redirect(self, location: str, code: str = "302 Found") -> None:
        """Sends the client elsewhere."""
        await self.answer(code=code, Location=location)

    @property
    def times(self) -> int:
        """How often the path was asked for, this time included."""
        return self.server.asked[self.path]


Handler = Callable[[Asked], Awaitable[None]]


async def _numbered(asked: Asked) -> None:
    await asyncio.sleep(asked.server.delay)
    await asked.answer(image(int(asked.path.rsplit("/", 1)[1])), Content_Type="image/jpeg")


async def _endless(asked: Asked) -> None:
    asked.writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + image(1))
    while True:
        asked.writer.write(bytes(65536))
        await asked.writer.drain()


async def _slow(asked: Asked) -> None:
    asked.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        asked.writer.write(b"\xff")
        await asked.writer.drain()
        await asyncio.sleep(0.25)


async def _drip(asked: Asked) -> None:
    asked.writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        asked.writer.write(b"X: y\r\n")
        await asked.writer.drain()
        await asyncio.sleep(0.02)


async def _continue(asked: Asked) -> None:
    while True:
        asked.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await asked.writer.drain()


async def _reset(asked: Asked) -> None:
    asked.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + image(1)[:100])
    await asked.writer.drain()
    asked.writer.transport.abort()


async def _short(asked: Asked) -> None:
    await asked.answer(image(1)[:500], length=1000)
    asked.writer.close()


async def _silent(asked: Asked) -> None:
    await asyncio.sleep(3600)


async def _later(asked: Asked) -> None:
    """429 the first time, with what the path says as Retry-After; then the image."""
    how = asked.path.rsplit("/", 1)[1]
    values = {
        "seconds": "0",
        "date": format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True),
        "absurd": "99999999",
        "nonsense": "soon",
    }
    if asked.times == 1 or how == "absurd":
        await asked.answer(code="429 Too Many Requests", Retry_After=values[how])
    else:
        await asked.answer(image(2))


async def _flaky(asked: Asked) -> None:
    """503 twice, then the image."""
    await (asked.answer(code="503 Busy") if asked.times < 3 else asked.answer(image(3)))


def _says(body: bytes, code: str = "200 OK", length: int | None = None, **headers: str) -> Handler:
    return lambda asked: asked.answer(body, code, length, **headers)


def _to(location: str) -> Handler:
    return lambda asked: asked.redirect(location.format(asked.server.port))


ENDPOINTS: dict[str, tuple[Handler, str]] = {
    "/png": (_says(image(4, "PNG"), Content_Type="text/html"), "ok"),
    "/gif": (_says(animated_gif()), "ok"),
    "/redirect": (_to("/img/5"), "ok"),
    "/later/seconds": (_later, "ok"),
    "/later/date": (_later, "ok"),
    "/later/nonsense": (_later, "ok"),
    "/flaky": (_flaky, "ok"),
    "/later/absurd": (_later, "rate_limited"),
    "/down": (_says(b"", "500 Broken"), "server_error"),
    "/endless": (_endless, "too_large"),
    "/huge": (_says(image(1), length=10 * 1024**3), "too_large"),
    "/slow": (_slow, "stalled|deadline"),
    "/drip": (_drip, "stalled|deadline"),
    "/silent": (_silent, "stalled|deadline"),
    "/continue": (_continue, "header_flood"),
    "/loop": (_to("/loop"), "redirect_limit"),
    "/to/loopback": (_to("http://127.0.0.1:{}/img/1"), "unsafe_address"),
    "/to/six": (_to("http://[::1]:{}/img/1"), "unsafe_address"),
    "/to/metadata": (_to("http://169.254.169.254/latest/meta-data/"), "unsafe_address"),
    "/to/mapped": (_to("http://[::ffff:169.254.169.254]/"), "unsafe_address"),
    "/to/file": (_to("file:///etc/passwd"), "unsupported_scheme"),
    "/to/user": (_to("http://a@b.test/"), "credentials"),
    "/to/nowhere": (_says(b"", "302 Found"), "bad_redirect"),
    "/to/nonsense": (_to("http://[::1/"), "bad_redirect"),
    "/gzip": (_says(gzip.compress(image(6)), Content_Encoding="gzip"), "ok"),
    "/bomb/gzip": (_says(gzip.compress(bytes(20_000_000)), Content_Encoding="gzip"), "bomb"),
    "/bomb/br": (_says(brotli.compress(bytes(20_000_000)), Content_Encoding="br"), "bomb"),
    "/encoding": (_says(b"no gzip at all", Content_Encoding="gzip"), "bad_encoding"),
    "/reset": (_reset, "reset|cut_short"),
    "/short": (_short, "cut_short"),
    "/none": (_says(b"", "204 No Content"), "no_content"),
    "/part": (_says(image(1)[:100], "206 Partial Content", Content_Range="bytes 0-99/2000"), "partial"),
    "/gone": (_says(HTML, "410 Gone"), "not_found"),
    "/secret": (_says(HTML, "403 Forbidden"), "forbidden"),
    "/teapot": (_says(HTML, "418 I'm a teapot"), "client_error"),
    "/cached": (_says(b"", "304 Not Modified"), "unexpected_code"),
    "/html": (_says(HTML, Content_Type="image/jpeg"), "not_image"),
    "/empty": (_says(b""), "empty"),
    "/svg": (_says(SVG), "unsupported_format"),
    "/pixels": (_says(huge_png()), "too_many_pixels"),
    "/noai": (_says(image(7), X_Robots_Tag="noai, noimageai"), "noai"),
    "/otherbot": (_says(image(8), X_Robots_Tag="otherbot: noindex"), "ok"),
    "/tdm": (_says(image(9), tdm_reservation="1"), "tdm_reserved"),
    "/usage": (_says(image(10), Content_Usage="train-ai=n"), "usage_reserved"),
}
"""What a path does, and the status that it must end in; where the clock decides, one of two."""


@dataclass
class Server:
    """The server while it runs; `asked` counts requests by path, `lookups` DNS questions by name."""

    authority: trustme.CA = field(default_factory=trustme.CA)
    asked: Counter[str] = field(default_factory=Counter)
    lookups: Counter[str] = field(default_factory=Counter)
    tunnels: Counter[str] = field(default_factory=Counter)
    files: dict[str, bytes] = field(default_factory=dict)
    handlers: dict[str, Handler] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    delay: float = 0.0
    down: bool = False
    port: int = 0
    ports: dict[str, int] = field(default_factory=dict)
    open: int = 0
    most_open: int = 0
    _listening: list[asyncio.Server | asyncio.DatagramTransport] = field(default_factory=list)

    def url(self, path: str, host: str = HOST) -> str:
        """Returns the address of a path."""
        return f"http://{host}:{self.port}{path}"

    def secure(self, kind: str, path: str, host: str = HOST) -> str:
        """Returns the address of a path by TLS: with a sound certificate, or one that is not; or by HTTP/2."""
        return f"https://{host}:{self.ports[kind]}{path}"

    @property
    def resolver(self) -> str:
        """The DNS server's address."""
        return f"{HOST}:{self.ports['dns']}"

    def ca(self, folder: Path) -> str:
        """Writes the authority's certificate; returns the path."""
        path = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(path))
        return str(path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        with suppress(
            ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError, asyncio.CancelledError
        ):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                path = lines[0].split()[1]
                if lines[0].startswith("CONNECT "):
                    await self._tunnel(path, reader, writer)
                    break
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines[1:])
                }
                self.asked[path] += 1
                if self.down:
                    break
                await self._answer(Asked(self, path, headers.get("host", ""), headers, reader, writer))
        self.open -= 1
        writer.close()

    async def _tunnel(self, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Is a proxy: passes bytes on to an address."""
        self.tunnels[place] += 1
        host, _, port = place.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    async def _answer(self, asked: Asked) -> None:
        if asked.path in self.handlers:
            await self.handlers[asked.path](asked)
        elif asked.path in self.files:
            await asked.answer(self.files[asked.path])
        elif asked.path.startswith("/img/"):
            await _numbered(asked)
        elif asked.path in ENDPOINTS:
            await ENDPOINTS[asked.path][0](asked)
        else:
            await asked.answer(HTML, "404 Not Found")

    async def _serve_http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers /ok; breaks the connection at /goaway and the stream at /rst."""
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        with suppress(ConnectionError, ssl.SSLError):
            while True:
                writer.write(connection.data_to_send())
                data = await reader.read(65536)
                if not data:
                    break
                for event in connection.receive_data(data):
                    if isinstance(event, RequestReceived):
                        path = dict(event.headers)[b":path"].decode()
                        self.asked[path] += 1
                        self._answer_http2(connection, event.stream_id, path)
                        if path == "/goaway":
                            writer.write(connection.data_to_send())
                            writer.close()
                            return
        writer.close()

    def _answer_http2(self, connection: H2Connection, stream: int, path: str) -> None:
        if path == "/goaway":
            connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
        elif path == "/rst":
            connection.send_headers(stream, [(":status", "200")])
            connection.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        elif path == "/ok":
            connection.send_headers(stream, [(":status", "200"), ("content-type", "image/jpeg")])
            connection.send_data(stream, image(11), end_stream=True)
        else:
            connection.send_headers(stream, [(":status", "404")], end_stream=True)

    async def start(self) -> None:
        """Opens every port."""
        tls = {
            "good": self._context(self.authority.issue_cert(HOST, "good.test")),
            "name": self._context(self.authority.issue_cert("other.test")),
            "expired": self._context(
                self.authority.issue_cert(
                    HOST,
                    not_after=datetime(2001, 1, 1, tzinfo=UTC),
                    not_before=datetime(2000, 1, 1, tzinfo=UTC),
                )
            ),
            "untrusted": self._context(trustme.CA().issue_cert(HOST)),
        }
        http2 = self._context(self.authority.issue_cert(HOST))
        http2.set_alpn_protocols(["h2"])
        servers = {"plain": await asyncio.start_server(self._serve, HOST, 0)}
        for kind, context in tls.items():
            servers[kind] = await asyncio.start_server(self._serve, HOST, 0, ssl=context)
        servers["http2"] = await asyncio.start_server(self._serve_http2, HOST, 0, ssl=http2)
        self.ports = {kind: one.sockets[0].getsockname()[1] for kind, one in servers.items()}
        self.port = self.ports["plain"]
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Dns(self), local_addr=(HOST, 0)
        )
        self.ports["dns"] = transport.get_extra_info("sockname")[1]
        self._listening = [*servers.values(), transport]

    async def end(self) -> None:
        """Closes every port, and ends what is being answered."""
        for one in self._listening:
            one.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _context(self, certificate: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class _Dns(asyncio.DatagramProtocol):
    """Every name below `.test` is HOST, but for those that the server has addresses of; each answer is the next."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        name = str(question.question[0].name).rstrip(".").lower()
        reply = dns.message.make_response(question)
        kind = dns.rdatatype.to_text(question.question[0].rdtype)
        if name.startswith("missing"):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif name.startswith("broken"):
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif kind == "A":
            answers = self._server.names.get(name, [HOST])
            at = min(self._server.lookups[name], len(answers) - 1)
            self._server.lookups[name] += 1
            reply.answer.append(dns.rrset.from_text(name + ".", 0, "IN", "A", *answers[at].split()))
        self._transport.sendto(reply.to_wire(), address)  # type: ignore[attr-defined]


@contextmanager
def serving() -> Iterator[Server]:
    """A server in a thread of its own, ended at the end."""
    server = Server()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    def run() -> None:
        loop.run_until_complete(server.start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(server.end())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
