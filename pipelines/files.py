"""The only place that opens paths: local, s3://, gs://, hf:// and memory:// through fsspec.

Failures become one sentence that names the source, the file and the remedy. Storage options may hold secrets, and
the text of a client's exception may repeat them (keys, tokens, signed addresses): neither is ever quoted.
"""

import errno
import hashlib
import io
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import fsspec

from schemas.errors import InputError, OutputError, missing

PROTOCOLS: Final = ("file", "s3", "gs", "gcs", "hf", "memory")
MIB: Final = 1024 * 1024
# of the content alone where there is one: GCS changes its etag with the metadata too
_CHECKSUMS: Final = ("md5Hash", "crc32c", "ETag", "etag", "blob_id", "md5", "sha256")
_DRIVERS: Final = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
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


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file: its path (openable), its name below the folder that was listed, its size in bytes.

    A local link that leads nowhere has the size -1.
    """

    path: str
    name: str
    size: int


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


def walk(folder: str) -> list[FileInfo]:
    """Files below a local folder; links to folders are followed, each folder is entered once."""
    if not os.path.isdir(folder):
        raise OSError(errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT, "no such folder")
    found: list[FileInfo] = []
    entered: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in names:
            path = os.path.join(root, name)
            size = os.stat(path).st_size if os.path.exists(path) else -1
            found.append(FileInfo(path, os.path.relpath(path, folder), size))
    return found


def _raise(error: OSError) -> None:
    raise error


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
        with self.reading(path), self.open(path) as file:
            return file.read(-1 if limit is None else limit + 1)

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
        return self._type(path) is not None

    def is_folder(self, path: str) -> bool:
        """Whether `path` is a folder (on an object store: a prefix of some object)."""
        return self._type(path) == "directory"

    def info(self, path: str) -> FileInfo:
        """The one file at `path`, with its last part as its name."""
        with self.reading(path):
            if is_local(path):
                size = os.stat(local_path(path)).st_size
            else:
                fs, inner = self._fs(path)
                size = int(fs.info(inner)["size"] or 0)
        return FileInfo(path, path.rstrip("/").rsplit("/", 1)[-1], size)

    def list_files(self, folder: str) -> tuple[FileInfo, ...]:
        """All files below `folder`, at any depth, sorted by name.

        InputError if a local folder is not there; an object store knows no empty folders, so there: none.
        """
        with self.reading(folder):
            found = walk(local_path(folder)) if is_local(folder) else self._find(folder)
        return tuple(sorted(found, key=lambda info: info.name))

    def glob(self, pattern: str) -> tuple[str, ...]:
        """The paths of the files and folders that match `pattern` (`*`, `?`, `[…]`, `**`), sorted."""
        with self.reading(pattern):
            if is_local(pattern):
                return tuple(sorted(glob(local_path(pattern), recursive=True)))
            fs, inner = self._fs(pattern)
            fs.invalidate_cache()
            return tuple(sorted(prefix_of(pattern) + str(name).lstrip("/") for name in fs.glob(inner)))

    def identity(self, path: str) -> str:
        """What changes when the file's content does: its size and the store's checksum.

        Where the store has none: SHA-256 of the first and the last MiB. Never a time or a path.
        """
        with self.reading(path):
            if not is_local(path):
                fs, inner = self._fs(path)
                fs.invalidate_cache()
                info = fs.info(inner)
                for name in _CHECKSUMS:
                    if info.get(name):
                        return f"{info['size']}-{str(info[name]).strip(chr(34))}"
            with self.open(path) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                digest = hashlib.sha256(file.read(MIB))
                file.seek(max(size - MIB, 0))
                digest.update(file.read(MIB))
                return f"{size}-{digest.hexdigest()}"

    @contextmanager
    def write_atomic(self, final: str, tmp_dir: str | Path) -> Iterator[Path]:
        """A local path to write to; the file appears as `final`, whole, when the block ends well.

        Local: written below `tmp_dir` (of the same file system), then renamed. Object store: written
        to a local temporary folder, then one put. After any failure the temporary file is gone and
        `final` is as it was; a full disk is an OutputError.
        """
        local = is_local(final)
        folder = Path(local_path(str(tmp_dir))) if local else Path(tempfile.gettempdir())
        temporary = folder / f"{uuid.uuid4().hex}.tmp"
        try:
            with self._writing(final):
                folder.mkdir(parents=True, exist_ok=True)
                temporary.touch()
            try:
                yield temporary
            except OSError as error:
                if error.errno in _FULL:
                    raise _full(final, error) from error
                raise
            with self._writing(final):
                self._place(temporary, final)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def write_bytes(self, final: str, data: bytes, tmp_dir: str | Path) -> None:
        """`data` as the file `final`, atomically."""
        with self.write_atomic(final, tmp_dir) as path:
            path.write_bytes(data)

    def arrow(self, paths: Sequence[str]) -> tuple[Any, list[str]]:
        """Returns Arrow's file system for files of one kind of store, and their paths as it writes them."""
        from pyarrow import fs as arrow

        if is_local(paths[0]):
            return arrow.LocalFileSystem(), [os.path.abspath(local_path(path)) for path in paths]
        with self.reading(paths[0]):
            fs = self._fs(paths[0])[0]
        return arrow.PyFileSystem(arrow.FSSpecHandler(fs)), [str(fs._strip_protocol(path)) for path in paths]

    def remove(self, path: str) -> None:
        """Take the file away; no failure if it is not there."""
        with self._writing(path):
            if is_local(path):
                Path(local_path(path)).unlink(missing_ok=True)
            else:
                fs, inner = self._fs(path)
                with suppress(FileNotFoundError):
                    fs.rm_file(inner)

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

    def _type(self, path: str) -> str | None:
        """`file`, `directory`, or None for nothing; fsspec's own `exists` hides every failure."""
        with self.reading(path):
            if is_local(path):
                place = local_path(path)
                return "directory" if os.path.isdir(place) else "file" if os.path.exists(place) else None
            fs, inner = self._fs(path)
            fs.invalidate_cache()
            try:
                return str(fs.info(inner)["type"])
            except FileNotFoundError:
                return None

    def _place(self, temporary: Path, final: str) -> None:
        if is_local(final):
            target = Path(local_path(final))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, target)
        else:
            fs, inner = self._fs(final)
            fs.put_file(str(temporary), inner)

    def _find(self, folder: str) -> list[FileInfo]:
        fs, inner = self._fs(folder)
        fs.invalidate_cache()
        root = str(inner).rstrip("/")
        found = fs.find(root, detail=True)
        return [
            FileInfo(
                prefix_of(folder) + path.lstrip("/"), path[len(root) :].lstrip("/"), int(info["size"] or 0)
            )
            for path, info in found.items()
            if info["type"] == "file" and not path.endswith("/") and path != root
        ]

    def _fs(self, path: str) -> tuple[Any, str]:
        """fsspec's file system for `path`, and the path as that file system writes it."""
        protocol = protocol_of(path)
        _check_text(path, self.options or {})
        try:
            fs = fsspec.filesystem(protocol, **(self.options or {}))
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
