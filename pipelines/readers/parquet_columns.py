"""Which columns of a Parquet file are read, and whether their types will do."""

from typing import Any

import pyarrow as pa

from pipelines.readers.records import check_columns, missing_column
from pipelines.readers.shard import InputShard
from schemas.columns import Columns, Part
from schemas.errors import InputError


def mapping(shard: InputShard, schema: pa.Schema, columns: Columns) -> tuple[str | None, list[str]]:
    """The image column, and the columns of everything else that the map names and the file has."""
    there = list(dict.fromkeys(schema.names))
    needed: tuple[Part, ...] = ("caption",) if shard.kind == "text" else ()
    check_columns(shard, there, columns, needed)
    parts: tuple[Part, ...] = ("caption", "url", "extra")
    others = [name for part in parts for name in columns.names(part) if name in there]
    others = [name for name in dict.fromkeys(others) if schema.names.count(name) == 1]
    for part in parts[:2]:
        for name in columns.names(part):
            if name in others and not _is_text(schema.field(name).type):
                others.remove(name)
                if columns.required(part) or part in needed:
                    kind = schema.field(name).type
                    raise InputError(
                        f"{shard}: the {part} column {name!r} holds {kind}, not text; name another one"
                    )
    if shard.kind == "text":
        return None, others
    return _image_column(shard, schema, columns), others


def _image_column(shard: InputShard, schema: pa.Schema, columns: Columns) -> str:
    names = [name for name in columns.names("image") if schema.names.count(name) == 1]
    for name in names:
        if _is_image(schema.field(name).type):
            return name
    if names:
        kind = schema.field(names[0]).type
        raise InputError(
            f"{shard}: the image column {names[0]!r} holds {kind}, not bytes; name the column that has them "
            "in the recipe's `columns`"
        )
    raise InputError(missing_column(shard, "image", columns.names("image"), schema.names))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes, in any of Arrow's layouts."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists, in any of Arrow's layouts that Parquet gives."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_image(kind: Any) -> bool:
    """Bytes; Hugging Face's struct<bytes, path>; a list of byte values; a list of one of these."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and is_bytes(kind.field(at).type)
    if is_list(kind):
        item = kind.value_type
        return item in (pa.uint8(), pa.int8()) or (not is_list(item) and _is_image(item))
    return is_bytes(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or is_bytes(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_null(kind)
    )
