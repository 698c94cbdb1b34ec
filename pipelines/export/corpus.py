"""What a target exports: a finished corpus, read by its manifest, and the folder that is written to."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipelines.files import MIB, Store, is_local, join, local_path
from schemas.manifest import Manifest


@dataclass(frozen=True)
class Export:
    """A corpus in `folder`, and the folder `out` for its export; `store` reaches both.

    `split`, `task` and `source` say which views are asked for; None: all.
    """

    folder: str
    manifest: Manifest
    out: str
    store: Store
    split: str | None = None
    task: str | None = None
    source: str | None = None

    def shards(self) -> Iterator[str]:
        """Yields the names of the files that hold samples, in the order of their data."""
        for folder, order in sorted(self.manifest.shards.items()):
            for name in order:
                tar = f"{folder}/{name}.tar"
                yield tar if tar in self.manifest.outputs else f"{folder}/{name}.parquet"

    def read(self, name: str) -> str:
        """Returns the path of a file of the corpus."""
        return join(self.folder, *name.split("/"))

    @property
    def links(self) -> bool:
        """Whether shards are linked: both folders are on this machine."""
        return is_local(self.folder) and is_local(self.out)

    def write(self, name: str, data: bytes) -> None:
        """Writes a file of the export."""
        self.store.write_bytes(self._at(name), data, self._tmp)

    def write_once(self, name: str, data: bytes) -> None:
        """Writes a file of the export unless it is there."""
        if not self.store.exists(self._at(name)):
            self.write(name, data)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Opens a file of the export, which appears when the block ends well."""
        with self.store.write_atomic(self._at(name), self._tmp) as local, local.open("wb") as file:
            yield file

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """Opens a file to write and read, which is gone when the block ends."""
        with tempfile.TemporaryFile() as file:
            yield file

    def take(self, name: str) -> None:
        """Takes a file of the corpus into the export under its own name: a relative link, else a copy."""
        if not self.links:
            self._copy(name)
            return
        place = Path(local_path(self._at(name)))
        place.parent.mkdir(parents=True, exist_ok=True)
        there = Path(local_path(self.read(name))).resolve()
        place.symlink_to(os.path.relpath(there, place.parent.resolve()))

    def _copy(self, name: str) -> None:
        with (
            self.store.open(self.read(name)) as file,
            self.store.write_atomic(self._at(name), self._tmp) as local,
            local.open("wb") as copy,
        ):
            while block := file.read(4 * MIB):
                copy.write(block)

    def close(self) -> None:
        """Removes what only the writing needed."""
        self.store.remove_folder(self._tmp)

    def _at(self, name: str) -> str:
        return join(self.out, *name.split("/"))

    @property
    def _tmp(self) -> str:
        return join(self.out, "tmp")
