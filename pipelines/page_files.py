"""The files that a recipe's path stands for, and the members of those that are tars."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipelines.files import Store
from pipelines.paths import FileInfo
from pipelines.store_failures import shown
from schemas.errors import InputError

MOST_MEMBERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a tar, by where its bytes lie."""

    name: str
    offset: int
    size: int


def files(store: Store, path: str) -> tuple[FileInfo, ...]:
    """What a file, folder or glob stands for, sorted by name; hidden files are none of it.

    Raises InputError where there is nothing.
    """
    if store.is_folder(path):
        found = store.list_files(path)
    elif any(mark in path for mark in "*?["):
        found = tuple(store.info(one) for one in store.glob(path) if not store.is_folder(one))
    else:
        return (store.info(path),)
    seen = tuple(one for one in found if not any(part.startswith(".") for part in one.name.split("/")))
    if not seen:
        raise InputError(f"source {store.source}: no file in {shown(path)}")
    return seen


def is_tar(info: FileInfo) -> bool:
    """Whether the name is that of a tar that can be read by place; compressed ones are not."""
    return info.name.lower().endswith(".tar")


def members(store: Store, info: FileInfo) -> Iterator[Member]:
    """The plain files of a tar in their order; what is no tar, or ends early, is an InputError."""
    with store.reading(info.path), store.open(info.path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for number, one in enumerate(tar):
                    if number == MOST_MEMBERS:
                        return
                    if one.isreg():
                        yield Member(one.name, one.offset_data, one.size)
        except tarfile.TarError as error:
            raise InputError(f"source {store.source}: {shown(info.path)} is no whole tar") from error


def part(store: Store, path: str, member: Member) -> bytes:
    """The bytes of a member."""
    with store.reading(path), store.open(path) as file:
        file.seek(member.offset)
        return file.read(member.size)
