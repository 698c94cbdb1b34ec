"""What a target exports: a finished corpus, read by its manifest, and the folder that is written to."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipelines.files import MIB, Store, is_local, join, local_path
from schemas.errors import InputError
from schemas.manifest import Manifest


@dataclass
class Links:
    """The files of a folder by size, to which images are linked that they hold byte for byte; and how many were."""

    folder: str
    files: Mapping[int, list[str]]
    linked: int = 0
    written: int = 0

    @classmethod
    def of(cls, folder: str, out: str) -> "Links":
        """Returns the files below a folder. Raises InputError where images cannot be linked to them."""
        store = Store()
        if not (is_local(folder) and is_local(out)):
            raise InputError(
                "images are linked on this machine only: give local folders as --out and --images, or no --images"
            )
        if not store.is_folder(folder):
            raise InputError(
                f"there is no folder {folder}: give --images the folder of the images to link to"
            )
        files: dict[int, list[str]] = {}
        for info in store.list_files(folder):
            files.setdefault(info.size, []).append(info.path)
        return cls(folder, files)

    def find(self, data: bytes) -> Path | None:
        """Returns the file that holds these bytes, None where there is none."""
        for path in map(Path, map(local_path, self.files.get(len(data), ()))):
            if path.read_bytes() == data:
                self.linked += 1
                return path.resolve()
        self.written += 1
        return None

    @property
    def said(self) -> str:
        """Returns how many images were linked, and how many were not."""
        copied = f"; {self.written:,} are not there byte for byte, and written" if self.written else ""
        return f"{self.linked:,} images are links into {self.folder}, which must stay where it is{copied}"


@dataclass(frozen=True)
class Export:
    """A corpus in `folder`, and the folder `out` for its export; `store` reaches both.

    `split`, `task` and `source` say which views are asked for; None: all. `images` are files to link images to.
    """

    folder: str
    manifest: Manifest
    out: str
    store: Store
    split: str | None = None
    task: str | None = None
    source: str | None = None
    images: Links | None = None

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

    def image(self, name: str, data: bytes) -> None:
        """Writes an image, or links it to a file that holds it, unless it is there."""
        if self.store.exists(self._at(name)):
            return
        there = self.images.find(data) if self.images else None
        if there is None:
            self.write(name, data)
        else:
            self._link(name, there)

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
        self._link(name, Path(local_path(self.read(name))).resolve())

    def _link(self, name: str, there: Path) -> None:
        place = Path(local_path(self._at(name)))
        place.parent.mkdir(parents=True, exist_ok=True)
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
