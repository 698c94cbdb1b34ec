"""The columns by which both kinds of shard describe a sample, and how their Parquet is written."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.writers.sink import Sink
from schemas.errors import OutputError
from schemas.sample import Image, Sample

SAMPLE: Final = pa.schema(
    [
        ("key", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("language", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        # the words: in `caption` where the task is caption, in `text` otherwise
        ("caption", pa.string()),
        ("text", pa.string()),
        # the whole sample, as Sample.to_json() writes it
        ("sample", pa.string()),
    ]
)
"""What every index and every Parquet shard says of a sample."""

_SIGNALS: Final[list[tuple[str, pa.DataType]]] = [
    ("url", pa.string()),
    ("phash", pa.uint64()),
    ("language_score", pa.float32()),
    ("clip_score", pa.float32()),
]
SIGNALS: Final = pa.schema(_SIGNALS)
"""What is told of a pair beyond its sample, unless the caller gives a schema of its own."""

_LEVEL: Final = 3
_REPEATING: Final = ["task", "split", "language", "source", "licence"]


@dataclass(frozen=True, slots=True)
class Item:
    """A sample on its way into a shard: the bytes of its pictures, and scalars for the extra columns."""

    sample: Sample
    images: Sequence[bytes] = ()
    extra: Mapping[str, object] = field(default_factory=dict)


def record(item: Item, extra: pa.Schema) -> dict[str, object]:
    """The values of the columns SAMPLE + `extra` for `item`; an extra that is not given is null."""
    sample = item.sample
    unknown = item.extra.keys() - set(extra.names)
    if unknown:
        raise ValueError(f"the extra columns {sorted(unknown)} are not in their schema {extra.names}")
    words = sample.text
    is_caption = sample.task == "caption"
    return {
        "key": sample.key,
        "task": sample.task,
        "split": sample.split,
        "language": sample.language,
        "source": sample.source,
        "licence": sample.licence,
        "caption": words if is_caption else None,
        "text": None if is_caption else words,
        "sample": sample.to_json(),
        **{name: item.extra.get(name) for name in extra.names},
    }


def check(item: Item, previous: str) -> None:
    """Raises unless keys rise and the pictures given are those that the sample describes."""
    sample = item.sample
    if not previous < sample.key:
        raise ValueError(f"samples must come in key order, but {sample.key!r} follows {previous!r}")
    if len(item.images) != len(sample.images):
        raise ValueError(f"{sample.key}: {len(item.images)} pictures for {len(sample.images)} images")
    for image, data in zip(sample.images, item.images, strict=True):
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise OutputError(
                f"source {sample.source}: the picture of {sample.key} is no longer the one measured; "
                "its shard changed meanwhile, so run again"
            )


def member_names(key: str, images: Sequence[Image]) -> list[str]:
    """The file names of a sample's pictures: KEY.jpg for one, KEY.0.jpg, KEY.1.png, … for several."""
    suffixes = [_suffix(image.format) for image in images]
    if len(suffixes) == 1:
        return [f"{key}.{suffixes[0]}"]
    return [f"{key}.{number}.{suffix}" for number, suffix in enumerate(suffixes)]


def _suffix(form: str) -> str:
    lower = form.lower()
    if not (lower.isascii() and lower.isalnum()):
        raise ValueError(f"{form!r} is no picture format")
    return "jpg" if lower in ("jpeg", "mpo") else lower


def join(*schemas: pa.Schema) -> pa.Schema:
    """One schema of all fields; ValueError where two have the same name."""
    fields = [one for schema in schemas for one in schema]
    names = [one.name for one in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the columns {twice} are there twice")
    return pa.schema(fields)


def require_columns(file: pq.ParquetFile, wanted: pa.Schema) -> None:
    """Raises ValueError unless `file` has the columns `wanted`, with their types."""
    for field_ in wanted:
        at = file.schema_arrow.get_field_index(field_.name)
        if at < 0 or file.schema_arrow.field(at).type != field_.type:
            raise ValueError(f"it has no column {field_.name} of type {field_.type}")


def parquet_writer(sink: Sink, schema: pa.Schema, opaque: Sequence[str] = ()) -> pq.ParquetWriter:
    """A writer with the one set of settings of this project; no statistics for the columns `opaque`."""
    return pq.ParquetWriter(
        cast(BinaryIO, sink),
        schema,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=_REPEATING,
        write_statistics=[name for name in schema.names if name not in opaque],
        store_schema=True,
    )
