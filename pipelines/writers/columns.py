"""The columns by which both forms of shard describe a sample, and how their Parquet is written."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.writers.sink import Sink
from schemas.errors import OutputError
from schemas.sample import Sample
from schemas.shard import COUNTS

SAMPLE: Final = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        # what all views have in common, null where they differ
        ("id", pa.string()),
        ("licence", pa.string()),
        ("language", pa.string()),
        # of the first image
        ("url", pa.string()),
        # the words: of the first view whose task is caption, and of all other views, parted by an empty line
        ("caption", pa.string()),
        ("text", pa.string()),
        # the whole sample, as Sample.to_json() writes it
        ("sample", pa.string()),
    ]
)
"""What every index and every Parquet shard says of a sample."""

SIGNALS: Final = pa.schema(
    [
        ("phash", pa.uint64()),
        ("language_score", pa.float32()),
        ("clip_score", pa.float32()),
    ]
)
"""What was measured of the row of a sample; null where a sample holds several rows that differ."""

_LEVEL: Final = 3
_REPEATING: Final = ["split", "language", "source", "licence"]


@dataclass(frozen=True, slots=True)
class Item:
    """A sample on its way into a shard, with the bytes of its images; `signals` are values of the columns SIGNALS."""

    sample: Sample
    images: Sequence[bytes] = ()
    signals: Mapping[str, object] = field(default_factory=dict)


def record(item: Item) -> dict[str, object]:
    """Returns the values of the columns SAMPLE and SIGNALS; a signal that is not given is null."""
    sample = item.sample
    return {
        "key": sample.key,
        "split": sample.split,
        "source": sample.source,
        "id": _common(one.id for one in sample.views),
        "licence": _common(one.licence for one in sample.views),
        "language": _common(one.language for one in sample.views),
        "url": sample.images[0].url if sample.images else None,
        "caption": sample.caption,
        "text": sample.text,
        "sample": sample.to_json(),
        **{name: item.signals.get(name) for name in SIGNALS.names},
    }


def _common(values: Iterable[str | None]) -> str | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def described(item: Item) -> list[dict[str, object]]:
    """Returns what is known of each image, its bytes apart."""
    return [asdict(image) for image in item.sample.images]


def counted(views: Counter[str]) -> dict[str, str]:
    """Returns the metadata that says how many views of each task a file holds."""
    return {COUNTS.decode(): json.dumps(views, sort_keys=True)}


def check(item: Item, seen: set[str]) -> None:
    """Raises unless the key is new to the shard and the images given are those that the sample describes."""
    sample = item.sample
    if sample.key in seen:
        raise ValueError(f"two samples of one shard have the key {sample.key!r}")
    seen.add(sample.key)
    if len(item.images) != len(sample.images):
        raise ValueError(f"{sample.key}: {len(item.images)} images, but it describes {len(sample.images)}")
    for image, data in zip(sample.images, item.images, strict=True):
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise OutputError(
                f"source {sample.source}: the image of {sample.key} is no longer the one measured; "
                "its shard changed meanwhile, so run again"
            )


def key_hash(key: str) -> int:
    """Returns the first 64 bits of the BLAKE2b of a key: by them shards are named, and shards and row groups cut."""
    return int.from_bytes(hashlib.blake2b(key.encode()).digest()[:8], "big")


def member_names(key: str, count: int) -> list[str]:
    """Returns the file names of a sample's images, whatever their formats: KEY.jpg; KEY.0.jpg, … for several."""
    return [f"{key}.jpg"] if count == 1 else [f"{key}.{number}.jpg" for number in range(count)]


def require_columns(file: pq.ParquetFile, wanted: pa.Schema) -> None:
    """Raises ValueError unless `file` has the columns `wanted`, with their types."""
    for field_ in wanted:
        at = file.schema_arrow.get_field_index(field_.name)
        if at < 0 or file.schema_arrow.field(at).type != field_.type:
            raise ValueError(f"it has no column {field_.name} of type {field_.type}")


def parquet_writer(sink: Sink, schema: pa.Schema, opaque: Sequence[str] = ()) -> pq.ParquetWriter:
    """Returns a writer with the settings of every shard; it keeps no statistics of the columns `opaque`.

    Pages are cut by content, so that a store that keeps equal chunks once keeps little of a changed shard.
    """
    return pq.ParquetWriter(
        cast(BinaryIO, sink),
        schema,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=_REPEATING,
        write_statistics=[name for name in schema.names if name not in opaque],
        write_page_index=True,
        use_content_defined_chunking=True,
        store_schema=True,
    )
