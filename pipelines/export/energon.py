"""Megatron-Energon: the tars as they are, an index beside each, and the folder .nv-meta that names them.

Energon reads a sample as the bytes between two offsets, which it looks up in TAR.idx: little-endian 64-bit numbers,
where each sample starts and where the last one ends. They follow from our own indexes, so no tar is read. Of the files
in .nv-meta, .info.json comes last: Energon takes a folder without it for no dataset.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import yaml

from pipelines.export.corpus import Export
from pipelines.writers import webdataset
from pipelines.writers.columns import require_columns
from schemas.errors import InputError
from schemas.parquet import opened

SPLITS: Final = {"train": "train", "val": "val", "eval": "test"}
"""Our splits by what Energon calls them."""

DATASET: Final = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}
"""Samples as they stand in the tars: `json` and the images, for a cooker of the user's."""

META: Final = ".nv-meta"


def write(export: Export) -> list[str]:
    """Writes links or copies of all tars, their indexes and .nv-meta; returns what was taken and what was not.

    Raises InputError where the corpus has no tar, or one without its index or with a damaged one, and where not all
    views are asked for.
    """
    if (export.split, export.task, export.source) != (None, None, None):
        raise InputError("energon takes whole tars: leave out --split, --task and --source")
    if export.images:
        raise InputError("energon takes whole tars, with the images in them: leave out --images")
    names = list(export.shards())
    tars = [name for name in names if name.endswith(".tar")]
    if not tars:
        raise InputError(
            f"{export.folder} has no tars, and Energon reads no Parquet: build it with shards: {{format: webdataset}}"
        )
    counts = {name: _shard(export, name) for name in tars}
    parts: dict[str, list[str]] = {}
    for name in tars:
        parts.setdefault(SPLITS[name.split("/")[1]], []).append(name)
    export.write(f"{META}/dataset.yaml", _yaml(DATASET))
    export.write(f"{META}/split.yaml", _yaml({"exclude": [], "split_parts": parts}))
    export.write(f"{META}/.info.json", json.dumps({"shard_counts": counts}, indent=1).encode() + b"\n")
    how = "linked to the corpus: export again when it changes" if export.links else "copied"
    said = [f"{sum(counts.values()):,} samples in {len(tars):,} tars, {how}"]
    if left := [name for name in names if name not in counts]:
        rows = sum(export.manifest.outputs[name].rows or 0 for name in left)
        said.append(
            f"{rows:,} samples in {len(left):,} Parquet shards are left out, which Energon does not read: build with "
            "shards: {format: webdataset} to have them as tars"
        )
    return said


def _shard(export: Export, name: str) -> int:
    """Takes one tar and writes its index; returns how many samples it has."""
    index = f"{name.removesuffix('.tar')}.parquet"
    for wanted in (name, index):
        if not export.store.exists(export.read(wanted)):
            raise InputError(f"{export.read(wanted)} is missing: vlcorpus verify says what else differs")
    try:
        with export.store.open(export.read(index)) as file:
            rows = opened(file)
            require_columns(rows, webdataset.PLACES)
            if rows.metadata.num_rows != export.manifest.outputs[name].rows:
                raise ValueError("it has another number of rows than its tar has samples")
            places = rows.read(webdataset.PLACES.names).to_pylist()
        offsets = _offsets(places)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{export.read(index)} is damaged: vlcorpus verify says what else differs"
        ) from error
    export.take(name)
    export.write(f"{name}.idx", offsets)
    return len(places)


def _offsets(places: Sequence[Mapping[str, Any]]) -> bytes:
    """Returns where each sample starts in the tar, and where the last one ends."""
    starts = [place["json_offset"] - webdataset.BLOCK for place in places]
    last = places[-1]
    ends = [
        (last["json_offset"], last["json_size"]),
        *((one["offset"], one["size"]) for one in last["images"]),
    ]
    offset, size = max(ends)
    return np.array([*starts, offset + size + webdataset.padding(size)], "<u8").tobytes()


def _yaml(value: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(value), sort_keys=True).encode()
