"""What is to be read: one input shard, how, and all that a source's paths turned out to hold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.files import Store, shown
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.ledger import Ledger
from schemas.errors import ChangedError


@dataclass(frozen=True, slots=True, order=True)
class InputShard:
    """One unit of reading: a tar, a Parquet file, a JSONL or CSV file with its images, a folder, a part of a file.

    `shard` is the path below the source's root without suffix, / as __. `kind` is one of pipelines/sources/table.py.
    `size` is in bytes; for the format `files` (images with sidecars) that of all files in the folder.
    """

    source: str
    shard: str
    path: str
    kind: str
    format: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a task carries them, that `from_json` turns back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "InputShard":
        """The shard that `to_json` wrote."""
        return cls(**value)

    def changed(self, member: str) -> ChangedError:
        """Returns the error for an image that is no longer what was measured."""
        return ChangedError(
            f"{self} no longer holds the image of {shown(member)!r} that was measured: it changed since; run the same "
            "command again to measure it again"
        )

    def __str__(self) -> str:
        """How messages name it."""
        return f"source {self.source}: {shown(self.path)}"


@dataclass(frozen=True, slots=True)
class Discovery:
    """A source's shards, sorted by id, and the names of files that are no input, for the log."""

    shards: tuple[InputShard, ...]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """How one shard is read; what becomes of each member of an archive goes into `ledgers` before the first row."""

    shard: InputShard
    store: Store
    columns: Columns
    limits: ReadLimits
    ledgers: list[Ledger] | None = None


Wanted = Sequence[tuple[str, int | None]]
"""Members of rows, with the offsets of their images where these are known."""
