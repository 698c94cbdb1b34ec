"""The only place that opens paths: local, s3://, gs://, hf:// and memory:// through fsspec.

Failures become one sentence that names the source, the file and the remedy. Storage options may hold secrets, and
the text of a client's exception may repeat them (keys, tokens, signed addresses): neither is ever quoted.
"""

import datetime
import errno
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from glob import glob
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, NamedTuple, cast

import fsspec

from schemas.errors import InputError, OutputError, missing

PROTOCOLS: Final = ("file", "s3", "gs", "gcs", "hf", "memory")
MIB: Final = 1024 * 1024
# of the content alone where there is one: GCS changes its etag with the metadata too
_CHECKSUMS: Final = ("md5Hash", "crc32c", "ETag", "etag", "blob_id", "md5", "sha256")
_TIMES: Final = ("LastModified", "mtime", "updated", "created")
_DRIVERS: Final = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
_NO_LISTINGS: Final[Mapping[str, Any]] = {"use_listings_cache": False}
# others write to the same store: what it listed before is no answer, and it is kept for every object
_UNCACHED: Final = dict.fromkeys(("s3", "gs", "gcs"), _NO_LISTINGS)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# what the stores' clients raise besides OSError; looked up only once they are loaded
_FOREIGN: Final = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("gcsfs.retry", "HttpError"),
    ("aiohttp", "ClientError"),
    ("huggingface_hub.errors", "HfHubHTTPError"),
    ("huggingface_hub.errors", "HFValidationError"),
    ("fsspec.exceptions", "FSTimeoutError"),
)


class FileInfo(NamedTuple):
    """A file: its path (openable), its name below the folder that was listed, its size in bytes.

    `stamp` is a reason to read the file again where it differs from that of an earlier look: the time of its last
    change, or the store's checksum. `changed` is when anything of a local file changed, its name and times among it,
    in nanoseconds. A local link that leads nowhere has the size -1.
    """

    path: str
    name: str
    size: int
    stamp: str = ""
    changed: int = 0


class Entry(NamedTuple):
    """What lies at a path: a folder (on an object store: a prefix of some object), or a file."""

    is_folder: bool
    info: FileInfo


Witness = Callable[[str, str, str, bool], None]
"""Called with each file that was written: its path, a local path to read it from, its stamp, whether it is scratch."""

_WITNESS: ContextVar[Witness | None] = ContextVar("witness", default=None)


@contextmanager
def witnessing(witness: Witness) -> Iterator[None]:
    """Tells `witness` of every file that is put into place in this thread."""
    token = _WITNESS.set(witness)
    try:
        yield
    finally:
        _WITNESS.reset(token)


class Digests:
    """SHA-256 of local files, each read again only where its size or its times differ from the last look."""

    def __init__(self, known: Mapping[str, tuple[str, str]] | None = None) -> None:
        """`known` holds, by path, the look of a file and its digest."""
        self._known = dict(known or {})
        self._asked: dict[str, int] = {}  # when each last changed: less memory than its FileInfo

    def of(self, info: FileInfo) -> str:
        """Returns size and SHA-256 of all bytes of a file, which is read only where it is not as at the last look."""
        digest = self.known(info)
        if digest is None:
            path = _place_of(info)
            with open(path, "rb") as file:
                digest = (
                    f"{os.fstat(file.fileno()).st_size}-{hashlib.file_digest(file, 'sha256').hexdigest()}"
                )
            self._known[path] = look(info), digest
            self._asked[path] = _last_change(info)
        return digest

    def known(self, info: FileInfo) -> str | None:
        """Returns size and SHA-256 of a file that is as it was at the last look; None where it has to be read."""
        path = _place_of(info)
        seen, digest = self._known.get(path, ("", ""))
        if seen != look(info):
            return None
        self._asked[path] = _last_change(info)
        return digest

    def remembered(self) -> dict[str, tuple[str, str]]:
        """Returns what was asked for and may be believed by a later run."""
        return {path: self._known[path] for path, at in sorted(self._asked.items()) if _is_past(at)}


def _place_of(info: FileInfo) -> str:
    return os.path.abspath(local_path(info.path))


def look(info: FileInfo) -> str:
    """Returns what is another where a file has changed since it was listed."""
    return f"{info.size}-{info.stamp}-{info.changed}"


def is_settled(info: FileInfo) -> bool:
    """Returns whether a later run may believe that a file which looks the same is the same."""
    return _is_past(_last_change(info)) if is_local(info.path) else bool(info.stamp)


def _is_past(changed: int) -> bool:
    """Returns whether a local file that last changed at this time cannot have changed again unseen.

    One that changes again within the tick of the clock would look the same; and one from the future may have been
    looked at before a clock was put right.
    """
    return time.time_ns() - changed > _TICK


def _last_change(info: FileInfo) -> int:
    """Returns when anything of a local file changed, in nanoseconds."""
    return max(int(info.stamp or 0), info.changed)


_TICK: Final = 2_000_000_000
"""Nanoseconds; the coarsest file systems tell times to two seconds."""

OF_PROCESS: Final = Digests()
"""Digests of what is no input of one run, such as weights."""


def is_local(path: str) -> bool:
    """Whether `path` is on this machine; a protocol that is not admitted is an InputError."""
    return protocol_of(path) == "file"


def local_path(path: str) -> str:
    """The path without `file://`."""
    return path.removeprefix("file://")


def absolute(path: str) -> str:
    """The path from the root, so that every process means the same file, wherever it runs."""
    return os.path.abspath(local_path(path)) if is_local(path) else path


def join(folder: str, *names: str) -> str:
    """The path of something below `folder`, local or not."""
    return "/".join((folder.rstrip("/"), *names) if folder else names)


def protocol_of(path: str) -> str:
    """The protocol in front of `://`, `file` where there is none; InputError if it is not admitted."""
    protocol, mark, _ = path.partition("://")
    if not mark:
        return "file"
    if protocol not in PROTOCOLS:
        raise InputError(
            f"{path}: only local paths and {', '.join(p + '://' for p in PROTOCOLS)} can be opened"
        )
    return protocol


def prefix_of(path: str) -> str:
    """The protocol with `://`."""
    return protocol_of(path) + "://"


def walk(folder: str) -> Iterator[FileInfo]:
    """Yields the files below a local folder; links to folders are followed, each folder is entered once."""
    if not os.path.isdir(folder):
        raise OSError(errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT, "no such folder")
    entered: set[tuple[int, int]] = set()
    waiting = [(folder, "")]
    while waiting:
        place, prefix = waiting.pop()
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        folders = []
        with os.scandir(place) as entries:
            for entry in entries:  # of a folder with a million files only what is yielded is held
                name = prefix + entry.name
                try:
                    if entry.is_dir():
                        folders.append((entry.path, f"{name}/"))
                    else:
                        yield _local(entry.path, name, entry.stat())
                except FileNotFoundError:
                    yield FileInfo(entry.path, name, -1)
        waiting += sorted(folders, reverse=True)


def _local(path: str, name: str, status: os.stat_result) -> FileInfo:
    return FileInfo(path, name, status.st_size, str(status.st_mtime_ns), status.st_ctime_ns)


def is_special(path: str) -> bool:
    """Returns whether a local path leads to a pipe, a socket or a device: opening a pipe waits for its other end."""
    place = local_path(path)
    return os.path.exists(place) and not os.path.isfile(place) and not os.path.isdir(place)


def shown(path: str) -> str:
    """The path as text that any terminal or log takes."""
    return path.encode("utf-8", "backslashreplace").decode()


def foreign() -> tuple[type[Exception], ...]:
    """OSError, and what the clients that are loaded raise beside it."""
    loaded = ((sys.modules.get(module), name) for module, name in _FOREIGN)
    found = (getattr(module, name, None) for module, name in loaded if module)
    return (OSError, *(kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception)))


def why(error: BaseException) -> str:
    """What is wrong, in words of ours."""
    if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.ENOENT:
        return "it does not exist"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, NotADirectoryError):
        return "it is not a folder"
    if isinstance(error, OSError) and error.errno and type(error).__module__ == "builtins":
        return os.strerror(error.errno).lower()
    return {
        "NoCredentialsError": "there are no credentials for it",
        "PartialCredentialsError": "its credentials are incomplete",
        "NoSuchBucket": "the bucket does not exist",
        "EndpointConnectionError": "the store cannot be reached",
        "RepositoryNotFoundError": "the repository does not exist or is private",
    }.get(type(error).__name__, f"the store answered {type(error).__name__}")


def remedy(error: BaseException) -> str:
    """What may help."""
    if isinstance(error, FileNotFoundError):
        return "check the spelling of the path"
    if isinstance(error, PermissionError) or "Credential" in type(error).__name__:
        return "check the rights to it and the credentials in storage_options or the environment"
    return "check the path, storage_options and the connection"


@dataclass(frozen=True, slots=True)
class Store:
    """Access to files with one set of storage options; `source` is what messages name.

    Holds no connection (fsspec keeps those, per process), so it travels between processes.
    """

    options: Mapping[str, Any] | None = field(default=None, repr=False)
    source: str = ""
    digests: Digests = field(default=OF_PROCESS, repr=False, compare=False)

    def open(self, path: str) -> BinaryIO:
        """A buffered, seekable file to read bytes from; the caller closes it."""
        with self.reading(path):
            if is_local(path):
                return open(local_path(path), "rb")
            fs, inner = self._fs(path)
            remote = fs.open(inner, "rb", block_size=4 * MIB)
            # fsspec's own files lack parts of a buffered file: readline with a limit, read1
            return cast(BinaryIO, io.BufferedReader(remote, 64 * 1024))

    def read_bytes(self, path: str, limit: int | None = None) -> bytes:
        """The file's bytes; with `limit`, at most one byte more than it, so that excess shows."""
        if limit is not None and is_local(path) and is_special(path):
            raise InputError(
                f"cannot read {shown(path)}: it is a pipe, a socket or a device; put a file in its place, or remove it"
            )
        with self.reading(path), self.open(path) as file:
            if limit is None:
                return file.read()
            size = file.seek(0, os.SEEK_END)  # a file makes room for all that it is asked for before it reads
            file.seek(0)
            return file.read(min(limit, size) + 1)

    @contextmanager
    def local_copy(self, path: str) -> Iterator[BinaryIO]:
        """A file with cheap seeks: the local file itself, else an anonymous local copy of the object."""
        if is_local(path):
            with self.open(path) as file:
                yield file
            return
        with self.scratch(path) as copy:
            with self.reading(path), self.open(path) as file:
                for block in iter(lambda: file.read(4 * MIB), b""):
                    with self.unpacking(path):
                        copy.write(block)
            copy.seek(0)
            yield copy

    @contextmanager
    def scratch(self, path: str) -> Iterator[BinaryIO]:
        """An anonymous temporary file (in TMPDIR) for what is unpacked from `path`."""
        with self.unpacking(path):
            file = tempfile.TemporaryFile(buffering=64 * 1024)  # noqa: SIM115 - closed below
        try:
            yield cast(BinaryIO, file)
        finally:
            with suppress(OSError):  # a full disk fails again when the buffer is flushed
                file.close()

    @contextmanager
    def unpacking(self, path: str) -> Iterator[None]:
        """Turn a disk that fills up while a copy of `path` is written into an OutputError."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot keep a temporary copy of {shown(path)} in {tempfile.gettempdir()} ({why(error)}): "
                "make room there or point TMPDIR elsewhere"
            ) from error

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder of that name."""
        return self.entry(path) is not None

    def is_folder(self, path: str) -> bool:
        """Whether `path` is a folder (on an object store: a prefix of some object)."""
        found = self.entry(path)
        return found is not None and found.is_folder

    def info(self, path: str) -> FileInfo:
        """The one file at `path`, with its last part as its name."""
        found = self.entry(path)
        if found is not None:
            return found.info
        with self.reading(path):
            raise FileNotFoundError(errno.ENOENT, "no such file")

    def entry(self, path: str) -> Entry | None:
        """Returns what lies at `path`, from one request; None where nothing does."""
        name = path.rstrip("/").rsplit("/", 1)[-1]
        with self.reading(path), suppress(FileNotFoundError, NotADirectoryError):
            if not is_local(path):
                fs, inner = self._fs(path)
                fs.invalidate_cache(inner)
                return _entry(path, name, fs.info(inner))
            if "\0" not in path:
                status = os.stat(local_path(path))
                return Entry(stat.S_ISDIR(status.st_mode), _local(path, name, status))
        return None

    def list_files(self, folder: str) -> tuple[FileInfo, ...]:
        """All files below `folder`, at any depth, sorted by name.

        InputError if a local folder is not there; an object store knows no empty folders, so there: none.
        """
        with self.reading(folder):
            found = walk(local_path(folder)) if is_local(folder) else self._find(folder)
            return tuple(sorted(found, key=attrgetter("name")))

    def list_names(self, folder: str) -> list[str]:
        """Returns the names of the files that `list_files` finds, sorted: a tenth of the memory."""
        with self.reading(folder):
            found = walk(local_path(folder)) if is_local(folder) else self._find(folder)
            return sorted(info.name for info in found)

    def names_in(self, folder: str) -> set[str]:
        """Returns the names of the files and folders right below `folder`, as `entries` finds them."""
        return {entry.info.name for entry in self.entries(folder)}

    def entries(self, folder: str) -> tuple[Entry, ...]:
        """Returns the files and folders right below `folder`, sorted by name; what lies deeper is not listed.

        InputError if a local folder is not there; an object store knows no empty folders, so there: none.
        """
        with self.reading(folder):
            if is_local(folder):
                names = sorted(os.listdir(local_path(folder)))
                return tuple(self._child(join(folder, name), name) for name in names)
            fs, inner = self._fs(folder)
            fs.invalidate_cache()
            root = str(inner).rstrip("/")
            try:
                found = {one["name"].rstrip("/"): one for one in fs.ls(root, detail=True)}
            except FileNotFoundError:
                return ()
        # a store may name the folder itself, where a client has put an empty object in its place
        return tuple(
            _entry(prefix_of(folder) + path.lstrip("/"), path.rsplit("/", 1)[-1], one)
            for path, one in sorted(found.items())
            if path != root
        )

    def newest(self, folder: str) -> float | None:
        """Returns when the newest object below a folder of an object store was written, in seconds since 1970.

        None where there is none, or the store does not say of all of them.
        """
        with self.reading(folder):
            fs, inner = self._fs(folder)
            fs.invalidate_cache()
            times = [_time_of(info) for info in fs.find(str(inner).rstrip("/"), detail=True).values()]
        known = [time for time in times if time is not None]
        return max(known) if known and len(known) == len(times) else None

    def _child(self, path: str, name: str) -> Entry:
        """Returns what lies at a local path that a listing names; a link that leads nowhere has the size -1."""
        return self.entry(path) or Entry(False, FileInfo(path, name, -1))

    def glob(self, pattern: str) -> tuple[Entry, ...]:
        """Returns the files and folders that match `pattern` (`*`, `?`, `[…]`, `**`), sorted by path."""
        with self.reading(pattern):
            if is_local(pattern):
                paths = sorted(glob(local_path(pattern), recursive=True))
                # a link that leads nowhere matches too
                return tuple(
                    self.entry(path) or Entry(False, FileInfo(path, os.path.basename(path), -1))
                    for path in paths
                )
            fs, inner = self._fs(pattern)
            fs.invalidate_cache()
            found = fs.glob(inner, detail=True)
        matches = {prefix_of(pattern) + name.lstrip("/"): info for name, info in found.items()}
        return tuple(
            _entry(path, path.rstrip("/").rsplit("/", 1)[-1], info) for path, info in sorted(matches.items())
        )

    def identity(self, path: str) -> str:
        """Returns what changes when the content of the file at `path` does, as `identity_of` says it."""
        return self.identity_of(self.info(path))

    def identity_of(self, info: FileInfo) -> str:
        """Returns what changes when a file's content does: its size and the store's checksum, from a listing.

        Where the store has none: SHA-256 of all of it. Never a time or a path.
        """
        known = self.known_identity(info)
        if known is not None:
            return known
        with self.reading(info.path):
            if is_local(info.path):
                return self.digests.of(info)
            digest = hashlib.sha256()
            size = 0
            with self.open(info.path) as file:
                for block in iter(lambda: file.read(4 * MIB), b""):
                    digest.update(block)
                    size += len(block)
            return f"{size}-{digest.hexdigest()}"

    def known_identity(self, info: FileInfo) -> str | None:
        """Returns the identity of a file of which a listing says enough; None where the file has to be read."""
        if is_local(info.path):
            return self.digests.known(info)
        return f"{info.size}-{info.stamp}" if info.stamp else None

    @contextmanager
    def write_atomic(self, final: str, tmp_dir: str | Path, *, scratch: bool = False) -> Iterator[Path]:
        """A local path to write to; the file appears as `final`, whole, when the block ends well.

        Local: written below `tmp_dir` (of the same file system), then renamed. Object store: written
        to a local temporary folder, then one put. After any failure the temporary file is gone and
        `final` is as it was; a full disk is an OutputError.

        What is written outlives a loss of power, with two exceptions: of `scratch` nobody minds the loss, and what a
        witness hears of is his to `sync`, so that a task need not wait for the disk. But no file that lies there is
        replaced by one that a loss of power could take.
        """
        folder = local_path(str(tmp_dir)) if is_local(final) else tempfile.gettempdir()
        temporary = f"{folder}/{uuid.uuid4().hex}.tmp"
        try:
            with self._writing(final):
                _touch(temporary)
            try:
                yield Path(temporary)
            except OSError as error:
                if error.errno in _FULL:
                    raise _full(final, error) from error
                raise
            with self._writing(final):
                witness = _WITNESS.get()
                stamp = self._place(temporary, final, scratch, later=witness is not None)
            if witness is not None:
                witness(final, local_path(final) if is_local(final) else temporary, stamp, scratch)
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def write_bytes(self, final: str, data: bytes, tmp_dir: str | Path, *, scratch: bool = False) -> None:
        """`data` as the file `final`, atomically."""
        with self.write_atomic(final, tmp_dir, scratch=scratch) as path:
            path.write_bytes(data)

    def sync(self, path: str) -> None:
        """Waits until a local file's bytes, or a folder's names, are on the disk."""
        with self._writing(path):
            _sync(local_path(path))

    def arrow(self, paths: Sequence[str]) -> tuple[Any, list[str]]:
        """Returns Arrow's file system for files of one kind of store, and their paths as it writes them."""
        from pyarrow import fs as arrow

        if is_local(paths[0]):
            return arrow.LocalFileSystem(), [os.path.abspath(local_path(path)) for path in paths]
        with self.reading(paths[0]):
            fs = self._fs(paths[0])[0]
        return arrow.PyFileSystem(arrow.FSSpecHandler(fs)), [str(fs._strip_protocol(path)) for path in paths]

    def remove(self, path: str, *, synced: bool = False) -> None:
        """Take the file away; no failure if it is not there. `synced`: a loss of power does not bring it back."""
        with self._writing(path):
            if is_local(path):
                place = Path(local_path(path))
                place.unlink(missing_ok=True)
                if synced and place.parent.is_dir():
                    _sync(str(place.parent))
            else:
                fs, inner = self._fs(path)
                with suppress(FileNotFoundError):
                    fs.rm_file(inner)

    def move(self, path: str, place: str) -> None:
        """Has a local file lie elsewhere on its file system, whose folder is made; no failure if it is not there."""
        with self._writing(place):
            os.makedirs(os.path.dirname(local_path(place)), exist_ok=True)
            with suppress(FileNotFoundError):
                os.replace(local_path(path), local_path(place))

    def remove_folder(self, path: str) -> None:
        """Take the folder and all below it away; no failure if it is not there."""
        with self._writing(path):
            if is_local(path):
                with suppress(FileNotFoundError):
                    shutil.rmtree(local_path(path))
            else:
                fs, inner = self._fs(path)
                with suppress(FileNotFoundError):
                    fs.rm(inner, recursive=True)

    def remove_empty(self, top: str, names: Iterable[str]) -> None:
        """Take away the folders of these names below `top`, and those above them, that hold nothing any more.

        An object store knows no empty folders.
        """
        if not is_local(top):
            return
        for name in sorted(names, reverse=True):
            place = PurePosixPath(name)
            for folder in (place, *place.parents)[:-1]:
                path = Path(local_path(top), folder)
                if path.is_symlink() or not path.is_dir() or any(path.iterdir()):
                    break
                with self._writing(str(path)):
                    path.rmdir()

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Turn what goes wrong with the store into an InputError; damage in the data is not its concern."""
        try:
            yield
        except foreign() as error:
            whose = f"source {self.source}: " if self.source else ""
            raise InputError(f"{whose}cannot read {shown(path)}: {why(error)}; {remedy(error)}") from error

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except foreign() as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise _full(path, error) from error
            raise OutputError(f"cannot write {shown(path)}: {why(error)}; {remedy(error)}") from error

    def _place(self, temporary: str, final: str, scratch: bool, later: bool) -> str:
        """Puts a whole file where it belongs; returns its stamp."""
        if not is_local(final):
            fs, inner = self._fs(final)
            fs.put_file(temporary, inner)
            return "" if scratch and not later else _stored(fs, inner, os.stat(temporary).st_size)
        target = local_path(final)
        if not scratch and (not later or os.path.exists(target)):
            _sync(temporary)
        stamp = str(os.stat(temporary).st_mtime_ns)
        try:
            os.replace(temporary, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            os.replace(temporary, target)
        if not scratch and not later:
            _sync(os.path.dirname(target) or ".")
        return stamp

    def _find(self, folder: str) -> list[FileInfo]:
        fs, inner = self._fs(folder)
        fs.invalidate_cache()
        root = str(inner).rstrip("/")
        found = fs.find(root, detail=True)
        return [
            FileInfo(
                prefix_of(folder) + path.lstrip("/"),
                path[len(root) :].lstrip("/"),
                int(info["size"] or 0),
                _checksum(info),
            )
            for path, info in found.items()
            if info["type"] == "file" and not path.endswith("/") and path != root
        ]

    def _fs(self, path: str) -> tuple[Any, str]:
        """fsspec's file system for `path`, and the path as that file system writes it."""
        protocol = protocol_of(path)
        _check_text(path, self.options or {})
        try:
            fs = fsspec.filesystem(protocol, **_UNCACHED.get(protocol, {}), **(self.options or {}))
            if protocol == "s3":
                fs.connect()  # else wrong options show only later, as a TypeError anywhere
        except ImportError as error:
            driver = _DRIVERS.get(protocol, protocol)
            raise InputError(missing(path, driver)) from error
        except (TypeError, ValueError, AttributeError, KeyError):  # its text may repeat the options
            raise InputError(
                f"{path}: storage_options do not suit {protocol}://; see fsspec's page on it"
            ) from None
        return fs, cast(str, fs._strip_protocol(path))


def _entry(path: str, name: str, found: Mapping[str, Any]) -> Entry:
    """Returns what a store's client says of a path."""
    info = FileInfo(path, name, int(found["size"] or 0), _checksum(found))
    return Entry(found["type"] == "directory", info)


def _time_of(info: Mapping[str, Any]) -> float | None:
    """Returns when a store says that an object was written, in seconds since 1970."""
    found = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(found, str):
        with suppress(ValueError):
            found = datetime.datetime.fromisoformat(found)
    return found.timestamp() if isinstance(found, datetime.datetime) else None


def _checksum(info: Mapping[str, Any]) -> str:
    """Returns the checksum that a store gives of an object, "" where it gives none."""
    return next((str(info[name]).strip('"') for name in _CHECKSUMS if info.get(name)), "")


def _stored(fs: Any, inner: str, size: int) -> str:
    """Returns the checksum of an object that was just put; OSError where the store holds other than `size` bytes."""
    fs.invalidate_cache(inner)
    info = fs.info(inner)
    if int(info["size"] or 0) != size:
        raise OSError(errno.EIO, f"the store holds {info['size']} of {size} bytes")
    return _checksum(info)


def _touch(path: str) -> None:
    """Makes an empty file, and its folder where that is not there."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o666)
    os.close(descriptor)


def _sync(path: str) -> None:
    """Waits until a file's bytes, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some file systems cannot sync a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not os.path.isdir(path):
            raise
    finally:
        os.close(descriptor)


def _check_text(path: str, options: Mapping[str, Any]) -> None:
    """Raises InputError where YAML has read a key of digits as a number: the client would stumble over it later."""
    for name in ("key", "secret", "endpoint_url"):
        if not isinstance(options.get(name), str | None):
            raise InputError(f"{path}: storage_options.{name} should be text: put it in quotes")


def _full(path: str, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {shown(path)}: {why(error)}; make room or choose another folder, then run the same "
        "command again"
    )
