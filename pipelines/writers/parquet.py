"""Shards as Parquet that carries its images: what opens Parquet shows them as images."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import pyarrow as pa

from pipelines.writers.columns import (
    SAMPLE,
    SIGNALS,
    Item,
    check,
    counted,
    described,
    key_hash,
    member_names,
    parquet_writer,
    record,
)
from pipelines.writers.features import BYTES, in_file
from pipelines.writers.sink import Sink, Written
from schemas.sample import views_json
from schemas.shard import IMAGE, METADATA, VIEWS

_BESIDE: Final = [("pictures", pa.list_(IMAGE)), ("views", VIEWS)]
ONE: Final = pa.schema([*SAMPLE, *SIGNALS, ("image", BYTES), *_BESIDE])
"""The columns where each sample has one image or none."""
SEVERAL: Final = pa.schema([*SAMPLE, *SIGNALS, ("images", pa.list_(BYTES)), *_BESIDE])
"""The columns where samples may have several images."""

# a reader that wants one row decodes one group: about a hundred images of web size
_LEAST_ROWS: Final = 64
_MOST_ROWS: Final = 512
_MOST_BYTES: Final = 32 << 20
# one key in 128 ends a group: where it ends does not depend on how many rows stand before
_ENDS_GROUP: Final = 2**64 // 128


def write(items: Iterable[Item], file: BinaryIO, schema: pa.Schema) -> Written:
    """Writes `items` in their order into the open `file`, with the columns ONE or SEVERAL.

    The same items give the same bytes.
    """
    features = json.dumps({"info": {"features": in_file(schema)}})
    schema = schema.with_metadata({**METADATA, "huggingface": features})
    sink = Sink(file)
    count, views = 0, Counter[str]()
    with parquet_writer(sink, schema, opaque=("image", "images", "pictures", "sample", "views")) as writer:
        for group in _groups(items):
            rows = [_row(item, "images" in schema.names) for item in group]
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))
            count += len(rows)
            views.update(one.task for item in group for one in item.sample.views)
        writer.add_key_value_metadata(counted(views))
    return sink.written(count)


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    size, seen = 0, set[str]()
    for item in items:
        check(item, seen)
        group.append(item)
        size += sum(map(len, item.images))
        is_end = len(group) >= _LEAST_ROWS and key_hash(item.sample.key) < _ENDS_GROUP
        if is_end or len(group) == _MOST_ROWS or size >= _MOST_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _row(item: Item, several: bool) -> dict[str, object]:
    sample = item.sample
    names = member_names(sample.key, len(sample.images))
    images = [{"bytes": data, "path": name} for data, name in zip(item.images, names, strict=True)]
    if not several and len(images) > 1:
        raise ValueError(f"{sample.key} has {len(images)} images, but the shard has a column for one")
    shown: dict[str, object] = {"images": images} if several else {"image": images[0] if images else None}
    return record(item) | shown | {"pictures": described(item), "views": views_json(sample.views)}
