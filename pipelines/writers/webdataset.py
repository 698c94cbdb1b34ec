"""Shards as WebDataset: one tar of samples, and beside it one Parquet index that says where each lies."""

import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, Final

import pyarrow as pa

from pipelines.writers.columns import (
    SAMPLE,
    SIGNALS,
    Item,
    check,
    counted,
    described,
    member_names,
    parquet_writer,
    record,
)
from pipelines.writers.sink import Sink, Written
from schemas.sample import VIEW_FIELDS
from schemas.shard import FACTS, IMAGE, METADATA

BLOCK: Final = 512
"""Tar headers are one block; data are padded to whole blocks."""

_PLACE: Final = pa.struct(
    [
        *IMAGE,
        pa.field("member", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
    ]
)
PLACES: Final = pa.schema(
    [
        ("views", pa.list_(FACTS)),
        ("images", pa.list_(_PLACE)),
        ("json_offset", pa.int64()),
        ("json_size", pa.int64()),
    ]
)
"""The views but for their turns; where in the tar the data of each member start, and how long they are, for a seek."""

INDEX: Final = pa.schema([*SAMPLE, *SIGNALS, *PLACES], METADATA)
"""The columns of the index."""

_GROUP: Final = 4096


@dataclass(frozen=True, slots=True)
class Shard:
    """What was written: the tar, and its index; both have one row a sample."""

    tar: Written
    index: Written


def write(items: Iterable[Item], tar: BinaryIO, index: BinaryIO) -> Shard:
    """Writes `items` in their order into the open files `tar` and `index`.

    Members are KEY.json, then the images with their bytes as given. The same items give the same bytes.
    """
    archive = Archive(Sink(tar))
    sink = Sink(index)
    rows: list[dict[str, object]] = []
    count, seen, views = 0, set[str](), Counter[str]()
    with parquet_writer(sink, INDEX) as writer:
        for item in items:
            check(item, seen)
            row = record(item)
            rows.append(row | _add(archive, item, str(row["sample"])))
            count += 1
            views.update(one.task for one in item.sample.views)
            if len(rows) == _GROUP:
                writer.write_table(pa.Table.from_pylist(rows, INDEX))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, INDEX))
        writer.add_key_value_metadata(counted(views))
    archive.end()
    return Shard(archive.sink.written(count), sink.written(count))


def header(name: str, size: int) -> bytes:
    """Returns the one header that a member can have: USTAR, no time, no owner, mode 0644."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def padding(size: int) -> int:
    """Returns how many zero bytes follow `size` bytes of data."""
    return -size % BLOCK


class Archive:
    """A tar that is being written: the same bytes for the same members."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Appends a member; returns the offset of its data and their size."""
        self.sink.write(header(name, len(data)))
        offset = self.sink.size
        self.sink.write(data)
        self.sink.write(bytes(padding(len(data))))
        return offset, len(data)

    def end(self) -> None:
        """Writes the end mark."""
        self.sink.write(bytes(2 * BLOCK))
        self.sink.write(bytes(-self.sink.size % tarfile.RECORDSIZE))


def _add(archive: Archive, item: Item, line: str) -> dict[str, object]:
    key = item.sample.key
    json_offset, json_size = archive.add(f"{key}.json", line.encode())
    images = []
    names = member_names(key, len(item.images))
    for facts, name, data in zip(described(item), names, item.images, strict=True):
        offset, size = archive.add(name, data)
        images.append({**facts, "member": name, "offset": offset, "size": size})
    views = [{name: getattr(one, name) for name in VIEW_FIELDS[:-1]} for one in item.sample.views]
    return {"views": views, "images": images, "json_offset": json_offset, "json_size": json_size}
