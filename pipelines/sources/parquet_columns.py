"""Which columns of a Parquet file are read, and whether their types will do."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.sources.columns import Columns, Part
from pipelines.sources.records import OWN, check_columns, missing_column, twice
from pipelines.sources.shard import InputShard, Reading
from schemas.errors import InputError

WRITTEN = "sample"
"""The column in which a Parquet shard of ours has its samples whole."""
EMBED = "store the images' bytes (with datasets: push_to_hub, or map(embed_table_storage) before to_parquet)"


@dataclass(frozen=True, slots=True)
class Mapped:
    """The image column, the columns of everything else, and whether one of them holds lists of captions."""

    image: str | None
    others: tuple[str, ...]
    has_lists: bool

    @property
    def all(self) -> list[str]:
        """The columns that are read."""
        return [*self.others] if self.image is None else [self.image, *self.others]


def mapping(reading: Reading, schema: pa.Schema, images: bool = True) -> Mapped:
    """The columns that the map names and the file has; InputError where one is missing or of a wrong type.

    Without `images` the caption is what a row must have.
    """
    shard, columns, there = reading.shard, reading.columns, schema.names
    if again := twice(there, columns.all_names()):
        raise InputError(f"{shard}: the column {again!r} stands twice in the file; rename one")
    needed: tuple[Part, ...] = () if images else ("caption",)
    check_columns(shard, there, columns, needed)
    captions = _captions(shard, schema, columns, required=bool(needed))
    urls = _of_type(shard, schema, columns, "url", _is_text)
    extra = [name for part in ("extra", *OWN) for name in columns.names(part) if name in there]
    image = _image_column(shard, schema, columns) if images else None
    whole = reading.several and image is not None and is_ours(schema) and columns.caption is None
    others = tuple(dict.fromkeys([*captions, *urls, *extra, *([WRITTEN] if whole else [])]))
    for name in extra:
        if (
            any(columns.required(part) for part in ("extra", *OWN))
            and carried(schema.field(name).type) is None
        ):
            raise InputError(
                f"{shard}: the extra column {name!r} holds {schema.field(name).type}, which no rule or score can "
                "use; write its parts as columns of their own, or leave it out of columns: {extra: …}"
            )
    return Mapped(image, others, any(is_list(schema.field(name).type) for name in captions))


def is_ours(schema: pa.Schema) -> bool:
    """Returns whether vlcorpus wrote the file."""
    return b"vlcorpus" in (schema.metadata or {})


def _captions(shard: InputShard, schema: pa.Schema, columns: Columns, required: bool) -> list[str]:
    """The caption columns of text; where there is none, those that hold lists of texts."""
    there = any(name in schema.names for name in columns.names("caption"))

    def will_do(kind: Any) -> bool:
        return _is_text(kind) or _is_texts(kind)

    found = _of_type(shard, schema, columns, "caption", will_do, required)
    if there and not found:  # a guessed name too: no row would have a caption
        _of_type(shard, schema, columns, "caption", will_do, required=True)
    texts = [name for name in found if not is_list(schema.field(name).type)]
    return texts if any(not pa.types.is_null(schema.field(name).type) for name in texts) else found


def _of_type(
    shard: InputShard, schema: pa.Schema, columns: Columns, part: Part, will_do: Any, required: bool = False
) -> list[str]:
    """The columns of `part` whose type will do; InputError for another one that the recipe names."""
    names = [name for name in columns.names(part) if name in schema.names]
    wrong = [name for name in names if not will_do(schema.field(name).type)]
    if wrong and (columns.required(part) or required):
        kind = schema.field(wrong[0]).type
        remedy = (
            "write its text as a column of its own, or name another one"
            if _is_struct(kind)
            else "name another one"
        )
        raise InputError(f"{shard}: the {part} column {wrong[0]!r} holds {kind}, not text; {remedy}")
    return [name for name in names if name not in wrong]


def _image_column(shard: InputShard, schema: pa.Schema, columns: Columns) -> str:
    lists: tuple[str, ...] = () if columns.required("image") else ("images",)
    names = [name for name in (*columns.names("image"), *lists) if name in schema.names]
    for name in names:
        if _is_image(schema.field(name).type):
            return name
    if names:
        kind = schema.field(names[0]).type
        remedy = "name the column that has them in the recipe's `columns`"
        raise InputError(
            f"{shard}: the image column {names[0]!r} holds {kind}, not bytes; {remedy}"
            + (f", or {EMBED}" if _is_path(kind) else "")
        )
    raise InputError(missing_column(shard, "image", columns.names("image"), schema.names))


def carried(kind: Any) -> pa.DataType | None:
    """The type as which values of `kind` are carried: text as bytes, times as text; None if they cannot be."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        return carried(kind.value_type)
    if is_list(kind):
        item = carried(kind.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_temporal(kind) and not pa.types.is_duration(kind) and not pa.types.is_interval(kind):
        return pa.string()
    if _is_string(kind):
        # the view types of Arrow are views of the same bytes
        return pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return kind if plain or is_bytes(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind) else None


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes, in any of Arrow's layouts."""
    plain = (pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in plain or bool(pa.types.is_fixed_size_binary(kind))


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


def _is_path(kind: Any) -> bool:
    """Whether values are places of images, not images."""
    return _is_string(kind) or (pa.types.is_struct(kind) and kind.get_field_index("path") >= 0)


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_string(kind) or is_bytes(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)


def _is_struct(kind: Any) -> bool:
    """Whether values are structs, or lists of them."""
    return bool(pa.types.is_struct(kind.value_type if is_list(kind) else kind))


def _is_texts(kind: Any) -> bool:
    """Whether values are lists of texts: captions of one image."""
    if not is_list(kind):
        return False
    item = kind.value_type.value_type if pa.types.is_dictionary(kind.value_type) else kind.value_type
    return _is_string(item) or pa.types.is_null(item)


def _is_string(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.large_string(), pa.string_view())
