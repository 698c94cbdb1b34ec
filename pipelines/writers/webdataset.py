"""Shards as WebDataset: one tar of samples, and beside it one Parquet index that says where each lies."""

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, Final

import pyarrow as pa

from pipelines.writers.columns import SAMPLE, SIGNALS, Item, check, join, member_names, parquet_writer, record
from pipelines.writers.sink import Sink, Written

BLOCK: Final = 512
"""Tar headers are one block; data are padded to whole blocks."""

PLACES: Final = pa.schema(
    [
        (
            "images",
            pa.list_(
                pa.struct(
                    [
                        ("format", pa.string()),
                        ("width", pa.int32()),
                        ("height", pa.int32()),
                        ("sha256", pa.string()),
                        ("member", pa.string()),
                        ("offset", pa.int64()),
                        ("size", pa.int64()),
                    ]
                )
            ),
        ),
        ("json_offset", pa.int64()),
        ("json_size", pa.int64()),
    ]
)
"""Where in the tar the data of each member start and how long they are, in bytes, for a seek."""

_GROUP: Final = 4096


@dataclass(frozen=True, slots=True)
class Shard:
    """What was written: the tar, and its index; both have one row a sample."""

    tar: Written
    index: Written


def write(items: Iterable[Item], tar: BinaryIO, index: BinaryIO, extra: pa.Schema = SIGNALS) -> Shard:
    """Writes `items`, which must come in key order, into the open files `tar` and `index`.

    Members are KEY.json, then the pictures with their bytes as given. The same items give the same
    bytes. `extra` is the schema of the items' extra scalars, which become columns of the index.
    """
    archive = Archive(Sink(tar))
    sink = Sink(index)
    schema = join(SAMPLE, extra, PLACES)
    rows: list[dict[str, object]] = []
    count, previous = 0, ""
    with parquet_writer(sink, schema) as writer:
        for item in items:
            check(item, previous)
            previous = item.sample.key
            row = record(item, extra)
            rows.append(row | _add(archive, item, str(row["sample"])))
            count += 1
            if len(rows) == _GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    archive.end()
    return Shard(archive.sink.written(count), sink.written(count))


def header(name: str, size: int) -> bytes:
    """The one header that a member of this name and size can have: USTAR, no time, no owner, mode 0644."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def padding(size: int) -> int:
    """The zero bytes that follow `size` bytes of data."""
    return -size % BLOCK


class Archive:
    """A tar on its way: members one after the other, the same for the same members."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Appends a member; gives the offset of its data and their size."""
        self.sink.write(header(name, len(data)))
        offset = self.sink.size
        self.sink.write(data)
        self.sink.write(bytes(padding(len(data))))
        return offset, len(data)

    def end(self) -> None:
        """Write the end mark."""
        self.sink.write(bytes(2 * BLOCK))
        self.sink.write(bytes(-self.sink.size % tarfile.RECORDSIZE))


def _add(archive: Archive, item: Item, line: str) -> dict[str, object]:
    sample = item.sample
    json_offset, json_size = archive.add(f"{sample.key}.json", line.encode())
    images = []
    names = member_names(sample.key, sample.images)
    for image, name, data in zip(sample.images, names, item.images, strict=True):
        offset, size = archive.add(name, data)
        images.append(
            {
                "format": image.format,
                "width": image.width,
                "height": image.height,
                "sha256": image.sha256,
                "member": name,
                "offset": offset,
                "size": size,
            }
        )
    return {"images": images, "json_offset": json_offset, "json_size": json_size}
