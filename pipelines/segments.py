"""Values by name, kept in segments: one file for up to some thousand values, so that a store is asked for few files.

A segment is a file of lines, sealed with a digest of itself. A line holds a name and its value, or the name alone where
its value was removed. Segments are numbered, and what the last one says of a name holds. Each change is a new segment;
many small ones are merged into one that lies safely on the disk before they are removed. So wherever a run is killed,
the segments that lie there say what was true before or after its last change.

A damaged segment counts as one that is not there: what it held is lost, and what it removed may be back. So a
value is only a claim, which whoever reads it holds against what the value is about.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from pipelines.files import Store, join, shown
from pipelines.layout import Layout
from schemas.errors import InputError

FULL: Final = 4096
"""Values of a segment that is not merged any more."""

MANY: Final = 256
"""Small segments that are merged while a phase runs; on an object store each batch of tasks leaves one."""

FEW: Final = 4
"""Small segments that may stay when a phase ends."""

PAUSE: Final = 0.5
"""Seconds for which values are gathered: a kill loses no more than was set in that time."""

_AT_ONCE: Final = 16
_TRIES: Final = 5
"""How often a folder is listed while another process merges its segments."""

_ONE: Final = ".json"
_SUFFIXES: Final = (_ONE, ".jsonl")
_NAME: Final = re.compile(r"(\d+)-\w+\.jsonl")

Older = Callable[[str, bytes], tuple[str, bytes] | None]
"""Takes the name and the bytes of a file that holds one value; returns name and value, None where it is damaged."""


class _Segment(NamedTuple):
    """A file that lies there; `names` are those that it speaks of, None for a full one, which stays as it is."""

    file: str
    lines: int
    names: tuple[str, ...] | None


class Segments:
    """The values in one folder, by name. `damaged` are the paths of files that are not what was written there.

    `files` are the names of the files in the folder. `older` reads one with the suffix `.json`, which holds one value:
    the form of earlier versions, which is read and merged, and not written any more.
    """

    def __init__(self, layout: Layout, folder: str, files: Iterable[str], older: Older) -> None:
        self._layout, self._store, self._folder, self._older = layout, layout.store, folder, older
        self._values: dict[str, bytes] = {}
        self.values: Mapping[str, bytes] = MappingProxyType(self._values)
        self._segments: list[_Segment] = []
        self.damaged: list[str] = []
        self._number = 0
        self._changed: dict[str, None] = {}
        self._state, self._order = threading.Lock(), threading.RLock()
        self._pool: ThreadPoolExecutor | None = None
        self._closing = threading.Event()
        self._due = False
        self._last: Future[None] | None = None
        self._load(files)

    def set(self, values: Mapping[str, bytes]) -> None:
        """Sets values; they lie in the store when this returns, or soon where changes are gathered."""
        with self._state:
            self._values.update(values)
            self._changed.update(dict.fromkeys(values))
        if self._pool is None:
            self._write()
        elif not self._due:
            if self._last is not None and self._last.done():
                self._last.result()  # raises what went wrong when it wrote
            self._due = True
            self._last = self._pool.submit(self._write_later)

    def remove(self, names: Iterable[str], *, synced: bool = False) -> None:
        """Removes the values of names before it returns; `synced`: a loss of power does not bring them back."""
        with self._state:
            gone = [name for name in names if self._values.pop(name, None) is not None]
            self._changed.update(dict.fromkeys(gone))
            nothing = not self._values
        if gone and nothing:
            self._erase(synced)
        elif gone:
            self._write(synced)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Within it what is set at nearly the same time comes into one segment; at its end all lies in the store."""
        self._closing.clear()
        self._pool = pool = ThreadPoolExecutor(1, "segments")
        try:
            yield
        finally:
            self._closing.set()
            pool.shutdown()
            self._pool = self._last = None
            self._write()

    def merge(self) -> None:
        """Merges small segments, and all of them where most of what they say holds no more."""
        with self._order:
            if sum(one.lines for one in self._segments) > 2 * len(self._values) + FULL:
                self._rewrite([*self._segments], tuple(self._values))
            elif len(small := self._small()) > FEW:
                names = dict.fromkeys(name for one in small for name in one.names or ())
                whole = len(small) == len(self._segments)
                self._rewrite(small, tuple(name for name in names if not whole or name in self._values))

    def remove_damaged(self) -> None:
        """Removes the files that are damaged."""
        for path in self.damaged:
            self._store.remove(path)
        self.damaged = []

    def _small(self) -> list[_Segment]:
        """Returns the small segments after the last full one."""
        full = [at for at, one in enumerate(self._segments) if one.names is None]
        return self._segments[full[-1] + 1 if full else 0 :]

    def _write_later(self) -> None:
        self._closing.wait(PAUSE)
        self._due = False  # what is set from now on may be too late for this segment
        self._write()

    def _write(self, synced: bool = False) -> None:
        """Writes what was changed since as one segment."""
        with self._order:
            with self._state:
                names = tuple(self._changed)
                self._changed.clear()
            if not names:
                return
            try:
                self._append(names, synced)
            except BaseException:
                with self._state:
                    self._changed.update(dict.fromkeys(names))
                raise
            small = self._small()
            if len(small) >= MANY or sum(one.lines for one in small) >= FULL:
                self._rewrite(small, tuple(dict.fromkeys(name for one in small for name in one.names or ())))

    def _append(self, names: Sequence[str], synced: bool) -> None:
        """Writes a segment with what these names have now."""
        self._number += 1
        file = f"{self._number:08d}-{self._layout.run}.jsonl"
        parts: list[bytes] = []
        for name in names:
            parts += _line(name, self._values.get(name))
        parts.pop()  # no line follows the last
        data = b"".join((_seal(self._folder, file, parts), b"\n", *parts))
        self._store.write_bytes(join(self._folder, file), data, self._layout.tmp, scratch=not synced)
        self._segments.append(_Segment(file, len(names), tuple(names) if len(names) < FULL else None))

    def _rewrite(self, old: Sequence[_Segment], names: Sequence[str]) -> None:
        """Puts segments with what these names have now in the stead of old ones, which go afterwards."""
        for first in range(0, len(names), FULL):
            self._append(names[first : first + FULL], synced=True)
        self._remove(old)

    def _erase(self, synced: bool) -> None:
        """Removes all segments."""
        with self._order:
            with self._state:
                self._changed.clear()
            self._remove(self._segments, synced=synced)

    def _remove(self, old: Sequence[_Segment], *, synced: bool = False) -> None:
        """Removes segments, the oldest first: so what is left on the way says nothing that a later one took back."""
        gone = dict.fromkeys(one.file for one in old)
        for file in gone:
            self._store.remove(join(self._folder, file), synced=synced)
        self._store.remove_empty(self._folder, {file.rpartition("/")[0] for file in gone if "/" in file})
        self._segments = [one for one in self._segments if one.file not in gone]

    def _load(self, files: Iterable[str]) -> None:
        for again in range(_TRIES):
            if again:  # a run that is at work has merged segments meanwhile
                there = self._store.list_files(self._folder) if self._store.is_folder(self._folder) else ()
                files = [info.name for info in there]
            self._values.clear()
            self._segments, self.damaged = [], []
            ours = sorted((file for file in files if file.endswith(_SUFFIXES)), key=_place)
            self._number = _place(ours[-1])[0] if ours else 0
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                read = zip(ours, pool.map(self._read, ours), strict=True)
                lie_there = [self._take(file, data) for file, data in read]
            if all(lie_there):
                return
        raise InputError(
            f"{shown(self._folder)} changes while it is read: another run is at work in this corpus; try again when it "
            "has ended"
        )

    def _read(self, file: str) -> bytes | None:
        return bytes_of(self._store, join(self._folder, file))

    def _take(self, file: str, data: bytes | None) -> bool:
        """Takes in what a file says; returns whether it was there."""
        if data is None:
            return False
        found = self._lines(file, data)
        if found is None:
            self.damaged.append(join(self._folder, file))
            return True
        for name, value in found:
            if value is None:
                self._values.pop(name, None)
            else:
                self._values[name] = value
        names = tuple(name for name, _ in found) if len(found) < FULL else None
        self._segments.append(_Segment(file, len(found), names))
        return True

    def _lines(self, file: str, data: bytes) -> Sequence[tuple[str, bytes | None]] | None:
        """Returns the names and values of a file, None where it is damaged."""
        if file.endswith(_ONE):
            one = self._older(file, data)
            return None if one is None else [one]
        seal, _, body = data.partition(b"\n")
        if seal != _seal(self._folder, file, [body]):
            return None
        parts = (line.partition(b"\t") for line in body.split(b"\n"))
        return [(parsed(name), value if tab else None) for name, tab, value in parts]


def parsed(data: bytes) -> Any:
    """Returns the value of a JSON text that lay in a segment."""
    try:
        return from_json(data)
    except ValueError:  # it takes a fifth of the time of json, and no bytes of names that are not UTF-8
        return json.loads(data)


def bytes_of(store: Store, path: str, limit: int | None = None) -> bytes | None:
    """Returns a file's bytes as `read_bytes` does, None where it is not there; it is asked for once."""
    try:
        return store.read_bytes(path, limit)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _line(name: str, value: bytes | None) -> Sequence[bytes]:
    """Returns the parts of a line: a value may be large, and is not copied for it."""
    text = json.dumps(name, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return (text, b"\n") if value is None else (text, b"\t", value, b"\n")


def _seal(folder: str, file: str, parts: Iterable[bytes]) -> bytes:
    """Returns the digest of a segment's lines, which is another one for the same lines in another place."""
    place = f"{folder.rpartition('/')[2]}/{file}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(digest_size=16, key=hashlib.blake2b(place).digest())
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


def _place(file: str) -> tuple[int, str]:
    """Returns what orders files: those of one value first, then segments by their numbers."""
    found = _NAME.fullmatch(file)
    return (int(found[1]) if found else 0), file
