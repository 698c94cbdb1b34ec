"""What has come of a raw shard that is not whole yet, so that a run that is killed asks for none of it again.

A file beside the shards, to which each answer is appended as it comes: the lengths of its two parts, a digest of both,
its columns as JSON, the image's bytes. What the process, or the machine, left unfinished at the end is cut off. On
object stores, which cannot append, there is none, and a run that is killed asks again for the URLs of unfinished
shards.
"""

import json
import os
import struct
from pathlib import Path
from typing import Any, Final

import xxhash

from pipelines.fetch.raw import UNFINISHED, Raw, Spool
from pipelines.fetch.refusals import refused
from pipelines.files import is_local, join, local_path

_HEAD: Final = struct.Struct("<QQQ")
_AT_ONCE: Final = 1 << 20
_MOST_FACTS: Final = 1 << 20

Place = tuple[int, int]
Facts = dict[str, Any]


def folder_of(raw: Raw) -> str:
    """Returns the folder of the journals beside raw shards; its name is hidden, so nothing in it is ever input."""
    return join(raw.folder, UNFINISHED)


class Journal(Spool):
    """The answers to a shard's URLs, and their images: on disk as they come, where the shards are local.

    `found` are the answers that an earlier run noted, by the number of their row in the shard.
    """

    def __init__(self, raw: Raw, name: str) -> None:
        super().__init__()
        self.found: dict[int, tuple[Facts, Place | None]] = {}
        self._settings: Facts = {"valid": raw.valid, "refusing": raw.refusing}
        self._path = Path(local_path(folder_of(raw)), f"{name}.journal") if is_local(raw.folder) else None
        self._open_file: int | None = None
        self._size = 0
        if self._path is not None and self._path.exists():
            self._read()

    def note(self, row: int, facts: Facts, image: bytes | None) -> Place | None:
        """Keeps an answer; returns the place by which its image is read."""
        if self._path is None:
            return None if image is None else self.add(image)
        if self._open_file is None:
            self._begin()
        text = json.dumps({"row": row, **facts}, ensure_ascii=False).encode("utf-8", "surrogatepass")
        data = image or b""
        place = self._append(text, data)
        return None if image is None else place

    def read(self, offset: int, size: int) -> bytes:
        """Returns an image."""
        if offset >= 0:
            return super().read(offset, size)
        assert self._open_file is not None
        return os.pread(self._open_file, size, -offset)

    def remove(self) -> None:
        """Removes the file: the shard is whole."""
        if self._path is not None and self._open_file is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file, and lets all images go."""
        super().close()
        if self._open_file is not None:
            os.close(self._open_file)
            self._open_file = None

    def _begin(self) -> None:
        assert self._path is not None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._open_file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._size = 0
        self._append(json.dumps(self._settings).encode(), b"")

    def _append(self, text: bytes, data: bytes) -> Place:
        """Writes one entry; the place of an image is counted from below zero, apart from those that `add` keeps."""
        assert self._open_file is not None
        digest = xxhash.xxh3_64(text)
        digest.update(data)
        entry = memoryview(_HEAD.pack(len(text), len(data), digest.intdigest()) + text + data)
        start = self._size + _HEAD.size + len(text)
        while entry:
            written = os.pwrite(self._open_file, entry, self._size)
            self._size += written
            entry = entry[written:]
        return -start, len(data)

    def _read(self) -> None:
        """Reads what an earlier run noted; what is of other settings is begun anew.

        Settings stand before the answers that were noted by them; those that refuse less keep the others' answers.
        """
        assert self._path is not None
        self._open_file = os.open(self._path, os.O_RDWR)
        whole = os.fstat(self._open_file).st_size
        settings: Facts = {}
        again: frozenset[str] | None = None
        while (entry := self._entry(whole)) is not None:
            facts, place = entry
            if "row" not in facts:
                settings, again = facts, self._again(facts)
            if again is None:
                break
            if "row" in facts and facts["status"] not in again:
                self.found[facts.pop("row")] = facts, place if facts.get("sha256") else None
            self._size = -place[0] + place[1]
        os.ftruncate(self._open_file, self._size)
        if again is None:
            self.found.clear()
            os.close(self._open_file)
            self._begin()
        elif settings != self._settings:
            self._append(json.dumps(self._settings).encode(), b"")

    def _again(self, settings: Facts) -> frozenset[str] | None:
        """The statuses noted by these settings that are asked for again; None where all are."""
        if settings.get("valid") != self._settings["valid"]:
            return None
        return refused(settings.get("refusing", {}), self._settings["refusing"])

    def _entry(self, whole: int) -> tuple[Facts, Place] | None:
        """The entry that begins where the last one ended; None where it is not as it was written."""
        assert self._open_file is not None
        head = os.pread(self._open_file, _HEAD.size, self._size)
        if len(head) < _HEAD.size:
            return None
        length, size, digest = _HEAD.unpack(head)
        first = self._size + _HEAD.size
        start = first + length
        if length > _MOST_FACTS or start + size > whole or self._digest(first, start + size) != digest:
            return None
        return dict(json.loads(os.pread(self._open_file, length, first))), (-start, size)

    def _digest(self, start: int, stop: int) -> int:
        assert self._open_file is not None
        found = xxhash.xxh3_64()
        for at in range(start, stop, _AT_ONCE):
            found.update(os.pread(self._open_file, min(_AT_ONCE, stop - at), at))
        return found.intdigest()
