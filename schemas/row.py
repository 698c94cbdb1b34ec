"""The raw row, its key, and the Arrow schemas of what is known about it.

A row is one raw record, named by (source, shard, member). Its key says what the pair *is*,
whichever file holds it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from schemas.errors import RowError
from schemas.sample import Sample

ROW: Final[list[tuple[str, pa.DataType]]] = [
    ("source", pa.string()),
    ("shard", pa.string()),
    ("member", pa.string()),
]
"""The columns that name a row; every join is by them."""


Value = str | int | float | bool | None | Sequence["Value"]
"""A further field of a row, as JSON writes it."""


@dataclass(frozen=True, slots=True)
class RawImage:
    """A further image of a row; `offset` places its bytes in an uncompressed tar."""

    data: bytes
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class RawRow:
    """One raw record as a reader found it.

    `caption` is the caption's bytes as stored (None: absent; b"": empty). `offset`
    places the image's bytes in an uncompressed tar, for a later seek. `error` is set where the
    reader itself could not make the row whole; the row is still a row. `text`: it is text alone, no image is missing.
    `further` are the images beside `image`, in order; `written` is the sample of several images that the row was where
    vlcorpus wrote it.
    """

    member: str
    image: bytes | None
    caption: bytes | None
    url: str | None = None
    offset: int | None = None
    extra: dict[str, Value] = field(default_factory=dict)
    error: RowError | None = None
    text: bool = False
    further: tuple[RawImage, ...] = ()
    written: Sample | None = None


def image_name(member: str, number: int) -> str:
    """Returns the name by which image `number` of a row, counted from 0, is fetched: of the first that of the row."""
    return f"{member}\0{number}" if number else member


def pair_key(source: str, url: str | None, image_sha256: str, caption: bytes | None) -> str:
    """The key of a pair: 32 lower-case hex digits.

    BLAKE2b-128 over length-prefixed fields, so that no two different pairs run together: the
    source's id; `u` + URL where there is one, else `b` + SHA-256 of the image bytes; the caption's
    bytes as stored, where absent and empty differ.
    """
    picture = f"u{url}" if url else f"b{image_sha256}"
    text = b"-" if caption is None else b"+" + caption
    digest = hashlib.blake2b(digest_size=16)
    for part in (source.encode(), picture.encode("utf-8", "surrogatepass"), text):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


BEFORE_SIGNALS: Final[list[tuple[str, pa.DataType]]] = [
    ("key", pa.string()),
    *ROW,
    ("url", pa.string()),
    ("caption_raw", pa.string()),
]
AFTER_SIGNALS: Final[list[tuple[str, pa.DataType]]] = [
    # of pages that an OCR read back: edits a character
    ("error_rate", pa.float32()),
    # where the bytes are, and what kept the row from being measured
    ("offset", pa.int64()),
    ("extra", pa.string()),
    ("error", pa.string()),
    ("error_message", pa.string()),
    # why an annotation record became no sample (pipelines/datasets/reasons.py)
    ("refusal", pa.string()),
    ("refusal_text", pa.string()),
]
"""What stands in work/signals before and after the columns of filters: filters/table.py has the whole schema."""

FURTHER: Final = pa.schema(
    [("row", pa.int64()), ("sha256", pa.string()), ("pixels", pa.string()), ("phash", pa.uint64())]
)
"""work/further: the images of a row beside its first, whose values stand in the signals; `row` is its place there."""

ANNOTATIONS: Final = pa.schema(
    [
        *ROW,
        ("kind", pa.string()),
        ("id", pa.string()),
        # null where the annotation is used: then it is kept or lost with its row
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""work/annotations: one row for each annotation (object, region, question, phrase, …) of an annotation source."""

SCORES: Final = pa.schema(
    [
        *ROW,
        ("key", pa.string()),
        ("clip_score", pa.float32()),
        ("scorer", pa.string()),
        # whether the text tower's tokenizer cut the caption
        ("truncated", pa.bool_()),
    ]
)
"""work/scores: one row for each row that reached the clip rule, now or in an earlier run."""

CLUSTERS: Final = pa.schema(
    [
        *ROW,
        ("key", pa.string()),
        ("kind", pa.string()),
        ("cluster", pa.string()),
        ("distance", pa.int32()),
    ]
)
"""work/clusters: one row for each membership in a cluster of two rows or more."""

GUARDED_CLUSTERS: Final = CLUSTERS.append(pa.field("eval_source", pa.string()))
"""work/clusters where the corpus has evaluation rows.

One row more, of kind `eval`, for each training row that shows the image of an evaluation row: `cluster` is
that row's key, `eval_source` its source, `distance` the bits between the hashes.
"""

DECISIONS: Final = pa.schema(
    [
        *ROW,
        ("key", pa.string()),
        ("decision", pa.string()),
        ("reason", pa.string()),
        ("failed", pa.list_(pa.string())),
        ("detail", pa.string()),
        ("split", pa.string()),
    ]
)
"""work/decisions: exactly one row for each input row."""
