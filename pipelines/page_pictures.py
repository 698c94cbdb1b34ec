"""Pictures that pages lie on: files, folders, globs, or shards of a corpus; read when they are shown."""

from collections.abc import Iterator, Sequence
from typing import Final, overload

from pipelines.files import Store
from pipelines.page_files import Member, files, is_tar, members, part
from pipelines.store_failures import shown
from schemas.errors import InputError

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LARGEST_IMAGE: Final = 64 << 20
"""Bytes of a picture; larger ones are passed over."""

Place = tuple[str, Member | None]
"""A path, and where a picture lies in it; None for the file itself."""


class Pictures(Sequence[bytes]):
    """Encoded pictures in order of path and name, none of them held."""

    def __init__(self, store: Store, places: Sequence[Place]) -> None:
        self._store = store
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> "Pictures": ...
    def __getitem__(self, at: int | slice) -> "bytes | Pictures":
        if isinstance(at, slice):
            return Pictures(self._store, self._places[at])
        path, member = self._places[at]
        return self._store.read_bytes(path) if member is None else part(self._store, path, member)


def pictures(store: Store, paths: Sequence[str]) -> Pictures:
    """The pictures of all `paths`. Raises InputError where a path holds none."""
    places: list[Place] = []
    for path in paths:
        found = list(_places(store, path))
        if not found:
            raise InputError(f"source {store.source}: no picture ({', '.join(SUFFIXES)}) in {shown(path)}")
        places += found
    return Pictures(store, places)


def _places(store: Store, path: str) -> Iterator[Place]:
    for info in files(store, path):
        if is_tar(info):
            yield from ((info.path, one) for one in members(store, info) if _is_picture(one.name, one.size))
        elif _is_picture(info.name, info.size):
            yield info.path, None


def _is_picture(name: str, size: int) -> bool:
    return name.lower().endswith(SUFFIXES) and 0 < size <= LARGEST_IMAGE
