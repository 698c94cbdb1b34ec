"""Raw shards by img2dataset's convention, and beside each a status for every URL of its rows.

    FOLDER/NAME.tar               KEY.jpg (or png, webp, …), KEY.txt, KEY.json of the images that came
    FOLDER/status/NAME.parquet    one row for each row of the list: what became of its URL

Both follow from the rows of the list and from what the hosts answered, and from nothing else.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

import pyarrow as pa

from pipelines.fetch.digests import COLUMN as LISTED
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.refusals import Refusing, refused
from pipelines.fetch.settings import FetchSettings
from pipelines.fetch.statuses import OF_IMAGE, OK, OPTED_OUT, answers
from pipelines.files import MIB, is_local, join
from pipelines.layout import Layout
from pipelines.parquet import read_table, write_tables
from pipelines.sources.urls import status_path
from pipelines.writers.sink import Sink
from pipelines.writers.webdataset import Archive
from schemas.errors import DamagedError

SUFFIXES: Final = {
    "JPEG": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "AVIF": "avif",
}
STATUS: Final = pa.schema(
    [
        ("key", pa.string()),
        ("row", pa.int64()),
        ("url", pa.string()),
        ("caption", pa.binary()),
        ("status", pa.string()),
        ("code", pa.int32()),
        # a rule's name, or what more there is to say
        ("detail", pa.string()),
        ("bytes", pa.int64()),
        ("final_url", pa.string()),
        ("sha256", pa.string()),
        ("verdict", pa.string()),
        # of the image as it came, else as the list has it
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("extra", pa.string()),
        # of the image as it is stored, where it was made smaller
        ("stored_width", pa.int64()),
        ("stored_height", pa.int64()),
        ("stored_sha256", pa.string()),
        # where the image lies in the tar
        ("suffix", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        # a digest of the row of the list, by which a row that changed is known
        (LISTED, pa.uint64()),
    ]
)
"""status/NAME.parquet."""

UNFINISHED: Final = ".unfinished"
"""The folder beside raw shards of what lies there until the source is fetched; nothing in it is ever input."""

_IN_MEMORY: Final = 32 * MIB
_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Piece:
    """One raw shard to be: its name, and its rows of the list."""

    name: str
    number: int
    start: int
    stop: int

    def key(self, row: int) -> str:
        """Returns the key of a row, whatever became of others."""
        return f"{self.number:05d}{row - self.start:04d}"


def pieces(name: str, start: int, stop: int, size: int) -> Iterator[Piece]:
    """Yields the raw shards of a list's rows from `start` to `stop`; each has `size` rows, the last the rest."""
    for first in range(start, stop, size):
        number = first // size
        yield Piece(f"{name}-{number:05d}", number, first, min(first + size, stop))


def layout_of(settings: FetchSettings, layout: Layout) -> Layout:
    """Returns the layout by which raw shards are written: on the file system of their folder from the start."""
    return layout if settings.raw is None else Layout(settings.raw, layout.run, layout.options)


def is_out(facts: Mapping[str, Any], opt_out: OptOut) -> bool:
    """Returns whether a row of STATUS has no image because that is on an opt-out list, and it is on one now."""
    if facts["status"] != OPTED_OUT or facts["detail"] != OF_IMAGE or facts["sha256"] is None:
        return False
    return opt_out.refuses_image(facts["sha256"])


ANSWERED: Final = ("url", "status", "detail", "sha256")
"""The columns of STATUS by which an answer is known."""


@dataclass(frozen=True)
class Left:
    """The statuses that an earlier run left, and which of them are of URLs that the settings refuse no more."""

    table: pa.Table
    refused: frozenset[str]

    def answers(self, opt_out: OptOut) -> pa.Table:
        """Returns the rows whose statuses are answers to their URLs for any other row with the same URL."""
        chosen = [
            row["url"] is not None
            and row["status"] not in self.refused
            and (answers(row["status"]) or is_out(row, opt_out))
            for row in rows_of(self.table.select(ANSWERED))
        ]
        return self.table.filter(pa.array(chosen, pa.bool_()))


@dataclass(frozen=True)
class Raw:
    """A folder of raw shards.

    `valid` is the fingerprint of all but the row of the list that a status depends on, without the settings by which
    URLs are refused, which are `refusing`.
    """

    layout: Layout
    folder: str
    valid: str = ""
    refusing: Refusing = field(default_factory=dict)

    def tar(self, name: str) -> str:
        """Returns the path of a shard."""
        return join(self.folder, f"{name}.tar")

    def status(self, name: str) -> str:
        """Returns the path of a shard's statuses."""
        return status_path(self.tar(name))

    def known(self, name: str, columns: list[str] | None = None) -> Left | None:
        """Returns the statuses that an earlier run left, None where there are none or they are of other settings."""
        try:
            table = self.left(name, columns)
        except DamagedError:  # as if there were none: the shard is made again
            return None
        if table is None:
            return None
        metadata = table.schema.metadata or {}
        if metadata.get(b"validity") != self.valid.encode():
            return None
        again = refused(json.loads(metadata.get(b"refusing", b"{}")), self.refusing)
        return None if again is None else Left(table, again)

    def left(self, name: str, columns: list[str] | None = None) -> pa.Table | None:
        """Returns the statuses that any earlier run left, or some of their columns."""
        store, path = self.layout.store, self.status(name)
        if not store.exists(path) or not store.exists(self.tar(name)):
            return None
        return read_table(self.layout, path, columns)

    def looks(self, names: Iterable[str]) -> tuple[list[tuple[str, int]], list[tuple[str, str]]]:
        """Returns the sizes of shards by name, and the stamps of their two files, which change where these do."""
        store = self.layout.store
        both = [(name, store.info(self.tar(name)), store.info(self.status(name))) for name in names]
        return [(name, tar.size) for name, tar, _ in both], [
            (tar.stamp, status.stamp) for _, tar, status in both
        ]

    def damage(self, name: str) -> str | None:
        """Returns what is wrong with a shard; None where its images are those of its statuses, whoever wrote them."""
        if not self.layout.store.exists(self.tar(name)):
            return "is missing"
        try:
            table = self.left(name)
            if table is None:
                return "lost its statuses in status/"
            images = Images(self, name)
            try:
                if not images.are_ended:
                    return "is cut off"
                wrong = (facts["key"] for facts in rows_of(table) if not images.has(facts))
                return next((f"has not the image {key} that was fetched" for key in wrong), None)
            finally:
                images.close()
        except DamagedError:
            return "has statuses that cannot be read"

    def gone(self, source: str, name: str) -> frozenset[str]:
        """Returns the keys of the rows of a shard that were removed from the corpus that `layout` is of."""
        path = self.layout.path("removed", source, name)
        if not self.layout.store.exists(path):
            return frozenset()
        return frozenset(read_table(self.layout, path, ["member"])["member"].to_pylist())

    def keep_only(self, names: Container[str]) -> None:
        """Removes shards of an earlier list that are none of this one, so that nobody builds from them."""
        for name in self.names():
            if name not in names:
                self.remove(name)

    def remove(self, name: str) -> None:
        """Removes a shard and its statuses."""
        self.layout.store.remove(self.status(name))
        self.layout.store.remove(self.tar(name))

    def names(self) -> list[str]:
        """Returns the names of the shards that are there, whatever list they are of."""
        store, folder = self.layout.store, join(self.folder, "status")
        found = store.list_files(folder) if store.is_folder(folder) else ()
        return [info.name.removesuffix(".parquet") for info in found]

    def write(self, name: str, results: Sequence["Result"], spool: "Spool") -> None:
        """Writes a shard, then its statuses, whose presence says that it is whole.

        What an earlier run left stands aside meanwhile: `restore` puts it back where this one is killed.
        """
        store, path = self.layout.store, self.status(name)
        with store.write_atomic(self.tar(name), self.layout.tmp) as local:
            with local.open("wb") as file:
                archive = Archive(_Undigested(file))
                for result in results:
                    if result.facts["status"] == OK:
                        _add(archive, result, spool)
                archive.end()
            self._set_aside(name)
        refusing = json.dumps(self.refusing, sort_keys=True)
        schema = STATUS.with_metadata({"validity": self.valid, "refusing": refusing})
        table = pa.Table.from_pylist([result.facts for result in results], STATUS).cast(schema)
        write_tables(self.layout, path, schema, [table])
        self._let_go(name)

    def restore(self) -> None:
        """Puts back shards that a run was killed over while it replaced them; removes those that had none before."""
        store, top = self.layout.store, self._aside()
        for name in sorted(store.names_in(top)) if is_local(top) and store.is_folder(top) else ():
            tar, status = self.tar(name), self.status(name)
            if not (store.exists(tar) and store.exists(status)):
                for path in (tar, status):
                    store.move(join(self._aside(name), os.path.basename(path)), path)
                if not store.exists(status):
                    store.remove(tar)
            store.remove_folder(self._aside(name))

    def _aside(self, *names: str) -> str:
        return join(self.folder, UNFINISHED, "aside", *names)

    def _set_aside(self, name: str) -> None:
        """Moves the files of a shard away; an object store, which cannot move, loses the statuses."""
        store = self.layout.store
        if not is_local(self.folder):
            store.remove(self.status(name))
            return
        for path in (self.tar(name), self.status(name)):
            store.move(path, join(self._aside(name), os.path.basename(path)))

    def _let_go(self, name: str) -> None:
        """Removes what stood aside, when the new files are on the disk."""
        store = self.layout.store
        if not is_local(self.folder):
            return
        if store.names_in(self._aside(name)):
            for path in (self.tar(name), self.status(name)):
                store.sync(path)
                store.sync(os.path.dirname(path))
        store.remove_folder(self._aside(name))


@dataclass
class Result:
    """What became of one row: its columns of STATUS, and where its image lies in the spool."""

    facts: dict[str, Any]
    place: tuple[int, int] | None = None


class _Undigested(Sink):
    """A raw shard is no part of a corpus, so nobody asks for its digest."""

    def write(self, data: Any, /) -> int:
        size = self._file.write(data)
        self.size += size
        return size


def _add(archive: Archive, result: Result, spool: "Spool") -> None:
    facts = result.facts
    assert result.place is not None
    image = spool.read(*result.place)
    key = facts["key"]
    record = {
        **(json.loads(facts["extra"]) if facts["extra"] else {}),
        "url": facts["url"],
        "caption": None if facts["caption"] is None else facts["caption"].decode("utf-8", "replace"),
        "key": key,
        "status": "success",
        "error_message": None,
        "width": facts["stored_width"] or facts["width"],
        "height": facts["stored_height"] or facts["height"],
        "original_width": facts["width"],
        "original_height": facts["height"],
        "sha256": facts["sha256"],
        "final_url": facts["final_url"],
        "verdict": facts["verdict"],
    }
    facts["offset"], facts["size"] = archive.add(f"{key}.{facts['suffix']}", image)
    if facts["caption"] is not None:
        archive.add(f"{key}.txt", facts["caption"])
    archive.add(f"{key}.json", json.dumps(record, sort_keys=True, ensure_ascii=False).encode())


class Spool:
    """Images that wait for their shard: in memory while they are few, then on disk."""

    def __init__(self) -> None:
        self._held: dict[int, bytes] = {}
        self._file: IO[bytes] | None = None
        self._end = self._in_memory = 0

    def add(self, data: bytes) -> tuple[int, int]:
        """Keeps an image; returns the place by which it is read."""
        place = self._end, len(data)
        self._end += len(data)
        if self._in_memory + len(data) <= _IN_MEMORY:
            self._in_memory += len(data)
            self._held[place[0]] = data
            return place
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._file.seek(place[0])
        self._file.write(data)
        return place

    def read(self, offset: int, size: int) -> bytes:
        """Returns an image."""
        if offset in self._held:
            return self._held[offset]
        assert self._file is not None
        self._file.seek(offset)
        return self._file.read(size)

    def close(self) -> None:
        """Lets all images go."""
        self._held.clear()
        if self._file is not None:
            self._file.close()


class Images:
    """The images of a raw shard that an earlier run wrote, by their places in the tar."""

    def __init__(self, raw: Raw, name: str) -> None:
        self._file = raw.layout.store.open(raw.tar(name))

    def read(self, facts: Mapping[str, Any]) -> bytes | None:
        """Returns the image of an `ok` row of STATUS, None where the tar does not hold the bytes that came.

        Of a row that was taken out it returns what stands in the image's place, zeros where nothing does.
        """
        self._file.seek(facts["offset"])
        data = self._file.read(facts["size"])
        if facts["url"] is None:
            return data.ljust(facts["size"], b"\0")
        expected: str = facts["stored_sha256"] or facts["sha256"]
        return data if hashlib.sha256(data).hexdigest() == expected else None

    @property
    def are_ended(self) -> bool:
        """Whether the tar has its end: whole blocks, the last two of them zeros."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(size - len(_END), 0))
        return size % _BLOCK == 0 and self._file.read() == _END

    def has(self, facts: Mapping[str, Any]) -> bool:
        """Returns whether the image of a row of STATUS is there; of a row that was taken out, nothing has to be."""
        return facts["status"] != OK or facts["url"] is None or self.read(facts) is not None

    def close(self) -> None:
        """Closes the tar."""
        self._file.close()


def rows_of(table: pa.Table) -> Iterable[dict[str, Any]]:
    """Yields the rows of a table of STATUS, batch by batch."""
    for batch in table.to_batches(4096):
        yield from batch.to_pylist()
