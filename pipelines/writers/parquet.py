"""Shards as Parquet that carries its pictures: `datasets.load_dataset("parquet")` shows them as images."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, Literal

import pyarrow as pa

from pipelines.writers.columns import SAMPLE, SIGNALS, Item, check, join, member_names, parquet_writer, record
from pipelines.writers.sink import Sink, Written

Layout = Literal["none", "one", "many"]
"""No picture, exactly one (column `image`), or any number (column `images`, a list)."""

_PICTURE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FACTS: Final = pa.struct(
    [("format", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("sha256", pa.string())]
)
_LAYOUTS: Final[dict[Layout, pa.Schema]] = {
    "none": pa.schema([]),
    "one": pa.schema([("image", _PICTURE), ("pictures", pa.list_(_FACTS))]),
    "many": pa.schema([("images", pa.list_(_PICTURE)), ("pictures", pa.list_(_FACTS))]),
}
# a reader that wants one row decodes one group: about a hundred pictures of web size
_GROUP_ROWS: Final = 256
_GROUP_BYTES: Final = 32 << 20


def write(items: Iterable[Item], file: BinaryIO, layout: Layout, extra: pa.Schema = SIGNALS) -> Written:
    """Writes `items`, which must come in key order, into the open `file`.

    All shards of one task must have one `layout`, or they cannot be opened together. The same items
    give the same bytes.
    """
    schema = join(SAMPLE, extra, _LAYOUTS[layout])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features(schema)}})})
    sink = Sink(file)
    count = 0
    with parquet_writer(sink, schema, opaque=("image", "images", "pictures", "sample")) as writer:
        for group in _groups(items):
            rows = [record(item, extra) | _pictures(item, layout) for item in group]
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))
            count += len(rows)
    return sink.written(count)


def features(schema: pa.Schema) -> dict[str, Any]:
    """The features of `schema` in the JSON form that the `datasets` library reads from a file's metadata."""
    return {field.name: _feature(field.type) for field in schema}


def _feature(kind: pa.DataType) -> Any:
    if kind == _PICTURE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        # a JSON list stands for a list feature in every version of the library; its class was renamed
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    names = {"float": "float32", "double": "float64"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    size, previous = 0, ""
    for item in items:
        check(item, previous)
        previous = item.sample.key
        group.append(item)
        size += sum(map(len, item.images))
        if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _pictures(item: Item, layout: Layout) -> dict[str, object]:
    sample = item.sample
    names = member_names(sample.key, sample.images)
    pictures = [{"bytes": data, "path": name} for data, name in zip(item.images, names, strict=True)]
    if layout == "none" and not pictures:
        return {}
    facts = [
        {"format": one.format, "width": one.width, "height": one.height, "sha256": one.sha256}
        for one in sample.images
    ]
    if layout == "many":
        return {"images": pictures, "pictures": facts}
    if layout == "one" and len(pictures) == 1:
        return {"image": pictures[0], "pictures": facts}
    raise ValueError(f"{sample.key} has {len(pictures)} pictures, which layout {layout!r} does not hold")
