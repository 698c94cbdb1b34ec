"""Names of files: which store a path is of, and what lies below a local folder."""

import errno
import os
from dataclasses import dataclass
from typing import Final

from schemas.errors import InputError

PROTOCOLS: Final = ("file", "s3", "gs", "gcs", "hf", "memory")


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
