"""Where everything of a corpus lies, below its folder (local or on an object store)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pipelines.files import FileInfo, Store, is_local, join

Name = tuple[str, str]
"""An input shard: (source, shard)."""

_SUFFIXES: Final = {
    "rendered": ".tar",
    "fetched": ".tar",
    "verdicts": ".json",
    "parts": ".jsonl",
}
"""Of files in the folders of work/ that hold no Parquet."""


PART: Final = ",row-([0-9]{9,18})"
"""What the id of a part of an input file has behind the id of the file: a pattern, for DuckDB too."""

_PART: Final = re.compile(f"(.*){PART}", re.DOTALL)


def part_id(file: str, first: int) -> str:
    """Returns the id of the part of an input file that begins at a row."""
    return f"{file},row-{first:09d}"


def file_and_row(shard: str) -> tuple[str, int]:
    """Returns the id of the file that an input shard is a part of, and its first row; -1 where it is no part."""
    found = _PART.fullmatch(shard)
    return (found[1], int(found[2])) if found else (shard, -1)


def in_order(names: Iterable[Name]) -> list[Name]:
    """Returns input shards by source and file, parts in the place of their file: of equal rows the first is kept."""
    return sorted(names, key=lambda name: (name[0], *file_and_row(name[1]), name[1]))


def text_of(name: Name) -> str:
    """Returns an input shard's name as receipts and sentences write it: source/shard."""
    return "/".join(name) if name[1] else name[0]


def name_of(text: str) -> Name:
    """Returns the name that `text_of` wrote."""
    source, _, shard = text.partition("/")
    return source, shard


@dataclass(frozen=True)
class Layout:
    """The paths of one corpus; `run` names this run's temporary folder."""

    out: str
    run: str = "0"
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def store(self) -> Store:
        return Store(self.options or None)

    @property
    def work(self) -> str:
        return join(self.out, "work")

    @property
    def tmp(self) -> str:
        """What is being written; on the same file system as the output where that is local."""
        return join(self.work, "tmp", self.run)

    @property
    def exchange(self) -> str:
        """What passes between the steps of this run, and is gone when it ends."""
        return join(self.work, "exchange", self.run)

    @property
    def is_local(self) -> bool:
        return is_local(self.out)

    def at(self, name: str) -> str:
        """The path of a file of the corpus by its name in the manifest."""
        return join(self.out, *name.split("/"))

    def path(self, folder: str, source: str, shard: str) -> str:
        """Returns the path of an input shard's file in a folder of work/ (pipelines/phases/table.py lists them)."""
        return self.at(self.file_of(folder, source, shard))

    def file_of(self, folder: str, source: str, shard: str) -> str:
        """Returns the name of that file below the corpus's folder, as `name_at` reads it."""
        return f"work/{folder}/{source}/{shard}{_SUFFIXES.get(folder, '.parquet')}"

    def name_at(self, name: str) -> Name:
        """Returns the input shard that a file of work/FOLDER is of, by the file's name below the corpus's folder."""
        _, folder, rest = name.split("/", 2)
        return name_of(rest.removesuffix(_SUFFIXES.get(folder, ".parquet")))

    def listed(self, folder: str) -> Iterator[tuple[Name, FileInfo]]:
        """Yields the files of a folder of work/ with the input shards that they are of, none where it is not there."""
        place, suffix = join(self.work, folder), _SUFFIXES.get(folder.partition("/")[0], ".parquet")
        for info in self.store.list_files(place) if self.store.is_folder(place) else ():
            yield name_of(info.name.removesuffix(suffix)), info
