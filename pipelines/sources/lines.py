"""Lines and JSON records of a text file, gzip or not, in any encoding, streamed with a limit on their length."""

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from pipelines.files import MIB
from pipelines.sources.records import is_utf8, no_text, parse_json
from pipelines.sources.shard import Reading
from schemas.errors import InputError, RowError, ShardError

Record = dict[str, object] | RowError

_FREE: Final = 256 * MIB
_HEAD: Final = 128
_BOM: Final = b"\xef\xbb\xbf"
UNSOUND: Final = "unsound"
"""The handler of decoding errors that marks bytes which are no text; what it leaves cannot be encoded in UTF-8."""

codecs.register_error(UNSOUND, lambda error: ("\udcff", cast(UnicodeDecodeError, error).end))

_WHOLE: Final = re.compile(r'\s*(?:\[\s*(?:\{|\Z)|\{\s*\n\s*")')


@dataclass(slots=True)
class TextFile:
    """A text file open at its start: what it is encoded in, and its first characters."""

    reading: Reading
    file: Any
    encoding: str
    head: str
    done: int = 0

    @property
    def is_utf8(self) -> bool:
        """Whether its bytes are taken as they are stored."""
        return self.encoding in ("utf-8", "utf-8-sig")

    def line(self, readline: Callable[[int], Any]) -> Any:
        """One line or piece of it, by `readline`; empty at the end. ShardError on damaged or endless gzip."""
        with self.reading.store.reading(self.reading.shard.path), damage(self.reading):
            piece = readline(self.reading.limits.record_bytes + 1)
        self.done += len(piece)
        packed = isinstance(self.file, gzip.GzipFile)
        if packed and self.done > max(_FREE, self.reading.limits.ratio * self.reading.shard.size):
            raise ShardError(
                f"{self.reading.shard} unpacks to more than {self.reading.limits.ratio} times its size; leave it out"
            )
        return piece


def lines(reading: Reading) -> Iterator[tuple[bytes | None, RowError | None]]:
    """(each line without its end, in UTF-8; what is wrong with it); ShardError on damaged gzip.

    A line longer than `record_bytes` is None; one that is no text is as stored.
    """
    with opened(reading) as text:
        for line in _lines(text):
            if line is None:
                yield None, RowError("too_large", "the line is longer than the limit")
            else:
                yield line, None if is_utf8(line) else no_text(text.encoding)


def json_lines(reading: Reading) -> Iterator[tuple[int, Record]]:
    """(line number from 0, the object or what is wrong with it); blank lines are no records.

    InputError where the file is one JSON value over many lines.
    """
    with opened(reading) as text:
        if _WHOLE.match(text.head):
            every = ".[]" if text.head.lstrip().startswith("[") else "."
            raise InputError(
                f"{reading.shard} is one JSON value, not one JSON object a line; make lines of it "
                f"(jq -c '{every}' FILE > FILE.jsonl)"
            )
        for number, line in enumerate(_lines(text)):
            if line is None:
                yield number, RowError("bad_row", f"a line of more than {reading.limits.record_bytes} bytes")
            elif not is_utf8(line):
                yield number, no_text(text.encoding)
            elif line.strip():
                try:
                    yield number, parse_json(line, reading.limits.record_bytes)
                except RowError as error:
                    yield number, error


def _lines(text: TextFile) -> Iterator[bytes | None]:
    readline = text.file.readline if text.is_utf8 else _encoded(text)
    limit, first = text.reading.limits.record_bytes, True
    while line := text.line(readline):
        whole = len(line) <= limit + line.endswith(b"\n")
        while not line.endswith(b"\n") and (more := text.line(readline)):
            line = more
        stored = line.removesuffix(b"\n").removesuffix(b"\r") if whole else None
        yield stored.removeprefix(_BOM) if first and stored is not None else stored
        first = False


def _encoded(text: TextFile) -> Callable[[int], bytes]:
    """Reads a line of another encoding as UTF-8, but for bytes that are no text."""
    decoded = io.TextIOWrapper(text.file, text.encoding, errors=UNSOUND, newline="\n")
    return lambda limit: decoded.readline(limit).encode("utf-8", "surrogateescape")


@contextmanager
def opened(reading: Reading) -> Iterator[TextFile]:
    """The file, unpacked, with the encoding that the recipe names or that its first bytes show."""
    with reading.store.open(reading.shard.path) as file:
        with reading.store.reading(reading.shard.path):
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
        inner: Any = gzip.GzipFile(fileobj=file, mode="rb") if packed else file
        with reading.store.reading(reading.shard.path), damage(reading):
            head = cast(bytes, inner.read(_HEAD))
            inner.seek(0)
        encoding = reading.limits.encoding or json.detect_encoding(head[:4])
        shown = head.removeprefix(_BOM).decode(encoding, "replace")
        yield TextFile(reading, inner, encoding, shown)


@contextmanager
def damage(reading: Reading) -> Iterator[None]:
    """Turns damaged gzip data into a ShardError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ShardError(
            f"{reading.shard} has damaged gzip data ({type(error).__name__}); write it again, or leave it out"
        ) from error
