"""What is to be read: one input shard, how, and all that a source's paths turned out to hold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipelines.files import FileInfo, Store, shown
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.ledger import Ledger
from schemas.errors import ChangedError, RowError
from schemas.sample import Sample

Found = TypeVar("Found")
"""An image where a reader found it."""
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True, order=True)
class InputShard:
    """One unit of reading: a tar, a Parquet file, a JSONL or CSV file with its images, a folder, a part of a file.

    `shard` is the path below the source's root without suffix, / as __. `kind` is one of pipelines/sources/table.py.
    `size` is in bytes; for the format `files` (images with sidecars) that of all files in the folder. `rows` are the
    first row, the one behind the last and the number of all rows, where a part of a Parquet file is meant
    (pipelines/sources/parts.py).
    """

    source: str
    shard: str
    path: str
    kind: str
    format: str
    size: int
    rows: tuple[int, int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a task carries them, that `from_json` turns back."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "InputShard":
        """The shard that `to_json` wrote."""
        rows = value.get("rows")
        return cls(**{**value, "rows": tuple(rows)} if rows else value)

    def changed(self, member: str) -> ChangedError:
        """Returns the error for an image that is no longer what was measured."""
        row, _, number = member.partition("\0")  # the name of a further image, by schemas.row.image_name
        which = f"image {int(number) + 1}" if number.isdecimal() else "the image"
        return ChangedError(
            f"{self} no longer holds {which} of {shown(row)!r} that was measured: it changed since; run the same "
            "command again to measure it again"
        )

    def cut_anew(self) -> ChangedError:
        """Returns the error for a part of a file that is no longer as long as it was when it was cut."""
        return ChangedError(
            f"{self} has another number of rows than when it was listed: it changed since; run the same command again "
            "to measure it again"
        )

    def __str__(self) -> str:
        """How messages name it."""
        return f"source {self.source}: {shown(self.path)}"


@dataclass(frozen=True, slots=True)
class Discovery:
    """A source's shards, sorted by id, and the names of files that are no input, for the log.

    `files` has by path what the listing said of those shards that are one file each.
    """

    shards: tuple[InputShard, ...]
    ignored: tuple[str, ...] = ()
    files: Mapping[str, FileInfo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """How one shard is read; what becomes of each member of an archive goes into `ledgers` before the first row.

    `several`: a record of several images is one row of them all.
    """

    shard: InputShard
    store: Store
    columns: Columns
    limits: ReadLimits
    ledgers: list[Ledger] | None = None
    several: bool = False

    def images(
        self, found: Sequence[Found], bytes_of: Callable[[Found], bytes], listed: str = "", one: str = ""
    ) -> list[bytes]:
        """Returns the bytes of a record's images, in their order.

        Raises RowError where they are several and the source keeps no such records, where they are too many, and,
        with its number, for an image that cannot be used. `listed` names them, `one` says how to take one of them.
        """
        count, limit = len(found), self.limits.images
        if count > 1 and not self.several:
            raise RowError(
                "several_images",
                f"the record has {count} images{listed}; keep them as one sample with several: interleaved in the "
                f"source{one}",
            )
        if count > 1 and count > limit:
            raise RowError("several_images", f"the record has {count} images, more than read.images: {limit}")
        return [numbered(number, count, bytes_of, image) for number, image in enumerate(found)]


def numbered(number: int, count: int, of: Callable[[Found], Read], image: Found) -> Read:
    """Returns what `of` gives for an image; a RowError says which of the record's `count` images it is about."""
    try:
        return of(image)
    except RowError as error:
        if count == 1:
            raise
        raise RowError(error.kind, f"image {number + 1} of {count}: {error.message}") from error


def check_written(sample: Sample, images: int) -> Sample:
    """Returns the sample that a record of vlcorpus is; RowError unless it has as many images as it describes."""
    if len(sample.images) != images:
        raise RowError(
            "bad_row", f"the sample describes {len(sample.images)} images, but {images} are stored with it"
        )
    return sample


Wanted = Sequence[tuple[str, int | None]]
"""Members of rows, with the offsets of their images where these are known."""
