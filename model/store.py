"""Files of a corpus, local or on an object store: list, open, read a range."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from schemas.errors import InputError, missing
from schemas.parquet import opened

_OPEN_FILES: Final = 64


@dataclass(slots=True)
class Store:
    """Where a corpus lies: a local folder, or a URL that fsspec understands.

    Handles are opened on first use, so that a store can be sent to another process.
    """

    root: str
    options: Mapping[str, Any] = field(default_factory=dict)
    _handles: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _remote: Any = None

    def __getstate__(self) -> tuple[str, dict[str, Any]]:
        return self.root, dict(self.options)

    def __setstate__(self, state: tuple[str, dict[str, Any]]) -> None:
        self.root, self.options = state
        self._handles, self._remote = OrderedDict(), None

    @property
    def is_remote(self) -> bool:
        return "://" in self.root

    def files(self) -> list[str]:
        """Returns every file below the root, by its path, sorted; raises InputError where the root is not there."""
        if self.is_remote:
            names = self._file_system().find(self.root)
            return sorted(str(self._file_system().unstrip_protocol(name)) for name in names)
        if Path(self.root).is_file():
            return [str(Path(self.root).absolute())]
        if not Path(self.root).is_dir():
            raise InputError(f"{self.root} is no folder of shards")
        return sorted(_walk(Path(self.root).absolute()))

    def small(self, name: str, most: int) -> bytes | None:
        """Returns a file in the root, None where there is none; raises InputError where it is above `most` bytes."""
        path = f"{self.root.rstrip('/')}/{name}"
        if self.is_remote:
            system = self._file_system()
            size = system.size(path) if system.isfile(path) else None
        else:
            size = Path(path).stat().st_size if Path(path).is_file() else None
        if size is None:
            return None
        if size > most:
            raise InputError(f"{path} has {size:,} bytes, above the limit of {most:,}")
        return self.read(path, 0, size)

    def parquet(self, path: str) -> pq.ParquetFile:
        if self.is_remote:
            return opened(self._file_system().open(path, "rb"))
        return opened(path, memory_map=False, pre_buffer=False)

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Returns `size` bytes from `offset`; raises InputError where the file ends before."""
        if self.is_remote:
            data = bytes(self._file_system().cat_file(path, start=offset, end=offset + size))
        else:
            data = os.pread(self._handle(path), size, offset)
        if len(data) != size:
            raise InputError(f"{path} ends before byte {offset + size}, where its index says more follows")
        return data

    def _handle(self, path: str) -> int:
        found = self._handles.get(path)
        if found is None:
            found = self._handles[path] = os.open(path, os.O_RDONLY)
            if len(self._handles) > _OPEN_FILES:
                os.close(self._handles.popitem(last=False)[1])
        return found

    def _file_system(self) -> Any:
        if self._remote is None:
            try:
                import fsspec

                self._remote, _ = fsspec.core.url_to_fs(self.root, **self.options)
            except ImportError as error:
                # fsspec's own sentence stands in for the import that failed
                failed = error.__cause__ if isinstance(error.__cause__, ImportError) else error
                sentence = missing(self.root, failed.name or "fsspec")
                raise InputError(f"{sentence}; or copy the shards here") from error
        return self._remote


def _walk(folder: Path) -> Iterator[str]:
    for path, folders, names in os.walk(folder):
        # a corpus's work/ holds Parquet too, which is no shard
        folders[:] = [name for name in folders if name != "work" and not name.startswith(".")]
        yield from (f"{path}/{name}" for name in names)
