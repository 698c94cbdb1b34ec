"""The columns of shards as features of the Hugging Face `datasets` library: in a Parquet file, and in a card."""

from typing import Any, Final

import pyarrow as pa

from schemas.shard import IMAGE, VIEWS

BYTES: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""An image with its bytes, as `datasets` stores it."""

TAR: Final = pa.schema(
    [
        ("jpg", BYTES),
        (
            "json",
            pa.struct(
                [
                    *((name, pa.string()) for name in ("key", "split", "source")),
                    ("images", pa.list_(IMAGE)),
                    ("views", VIEWS),
                ]
            ),
        ),
        ("__key__", pa.string()),
        ("__url__", pa.string()),
    ]
)
"""What `datasets` makes of a tar whose samples have one image or none."""


def in_file(schema: pa.Schema) -> dict[str, Any]:
    """Returns the features in the JSON form that `datasets` reads from the metadata of a Parquet file."""
    return {field.name: _json(field.type) for field in schema}


def in_card(schema: pa.Schema) -> list[dict[str, Any]]:
    """Returns the features in the YAML form that `datasets` reads from a card's `dataset_info`."""
    return [{"name": field.name, **_yaml(field.type)} for field in schema]


def _json(kind: pa.DataType) -> Any:
    if kind == BYTES:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        # a JSON list stands for a list feature in every version of the library; its class was renamed
        return [_json(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: _json(field.type) for field in kind}
    return {"dtype": _name(kind), "_type": "Value"}


def _yaml(kind: pa.DataType) -> dict[str, Any]:
    if kind == BYTES:
        return {"dtype": "image"}
    if pa.types.is_struct(kind):
        return {"struct": in_card(kind)}
    if not pa.types.is_list(kind):
        return {"dtype": _name(kind)}
    inner = _yaml(kind.value_type)
    # the library writes a list of plain values, or of structs, without a level of its own
    return {"list": next(iter(inner.values())) if inner.keys() <= {"dtype", "struct"} else inner}


def _name(kind: pa.DataType) -> str:
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
