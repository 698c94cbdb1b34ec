"""The form of a shard of samples: the Arrow types of a sample's parts, and the mark that every file carries.

A file of another form is named in one sentence, never read as if it were of this one.
"""

from typing import Final

import pyarrow as pa

from schemas.errors import InputError

FORM: Final = "3"
"""Raised when a shard, an index or a sample's JSON changes so that older readers would misread it."""

METADATA: Final = {"vlcorpus": FORM}
"""Stands in the Arrow schema of every index and every Parquet shard."""

COUNTS: Final = b"vlcorpus.views"
"""Under this key the metadata of every index and every Parquet shard holds its number of views by task, as JSON."""

IMAGE: Final = pa.struct(
    [
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("original_sha256", pa.string()),
        ("url", pa.string()),
    ]
)
"""An image of a sample, without its bytes."""

TURNS: Final = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            (
                "segments",
                pa.list_(
                    pa.struct(
                        [
                            ("text", pa.string()),
                            ("image", pa.int32()),
                            ("phrase", pa.string()),
                            ("boxes", pa.list_(pa.list_(pa.float64()))),
                            ("quads", pa.list_(pa.list_(pa.list_(pa.float64())))),
                            ("supervised", pa.bool_()),
                        ]
                    )
                ),
            ),
        ]
    )
)
"""The turns of a view, as a sample's JSON has them."""

FACTS: Final = pa.struct(
    [(name, pa.string()) for name in ("key", "task", "language", "id", "licence", "extra")]
)
"""A view without its turns."""

VIEWS: Final = pa.list_(pa.struct([*FACTS, pa.field("turns", TURNS)]))
"""The views of a sample, as its JSON has them."""

_OURS: Final = frozenset({"key", "split", "sample"})


def is_shard(path: str, schema: pa.Schema) -> bool:
    """Returns whether a Parquet file is a shard of samples or the index of one.

    Raises InputError where it is one of another form.
    """
    form = (schema.metadata or {}).get(b"vlcorpus")
    if form == FORM.encode():
        return True
    if form is not None or set(schema.names) >= _OURS:
        raise InputError(
            f"{path} is a shard of another form than this vlcorpus writes ({FORM}): build the corpus again, in the "
            "same folder, with this version"
        )
    return False
