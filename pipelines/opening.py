"""A corpus that is there, opened to be read: its manifest, its tables below work/, its shards."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as pads

from filters.table import SIGNALS
from pipelines.files import Store, join
from pipelines.layout import Layout
from pipelines.manifest import read_manifest
from pipelines.receipts import UNFINISHED, is_finished
from schemas.errors import InputError, VerifyError
from schemas.manifest import MANIFEST, Manifest
from schemas.row import CLUSTERS, DECISIONS, SCORES
from schemas.sample import Sample

TABLES: Final[Mapping[str, pa.Schema]] = {
    "decisions": DECISIONS,
    "signals": SIGNALS,
    "clusters": CLUSTERS,
    "scores": SCORES,
}
"""Tables below work/ with a file for each input shard."""

Wanted = tuple[str | None, Collection[str], str | None]
"""(split, groups, source); None: any."""


def open_manifest(folder: str, options: Mapping[str, Any] | None = None) -> Manifest:
    """Returns the manifest of the corpus in `folder`; InputError says what is there instead of a finished corpus."""
    manifest = found_manifest(folder, options)
    if not is_finished(Layout(folder, options=dict(options or {}))):
        raise InputError(f"{folder} {UNFINISHED}")
    return manifest


def found_manifest(folder: str, options: Mapping[str, Any] | None = None) -> Manifest:
    """Returns the manifest that lies in `folder`, whether or not it is of what lies there now.

    InputError says what is there instead of a corpus.
    """
    store = Store(options)
    if not store.is_folder(folder):
        if store.exists(folder):
            raise InputError(f"{folder} is a file: give the folder of a corpus")
        raise InputError(f"there is no folder {folder}: build a corpus there, or give the folder of one")
    if store.exists(join(folder, MANIFEST)):
        try:
            return read_manifest(store, folder)
        except VerifyError as error:
            raise VerifyError(f"{folder} holds no corpus that can be read: {error}") from error
    if store.is_folder(join(folder, "work", "receipts")):
        raise InputError(
            f"{folder} holds a corpus that is not finished: run the command that builds it again to go on"
        )
    raise InputError(f"{folder} holds no corpus: it has no manifest.json")


def tables(folder: str, options: Mapping[str, Any] | None = None) -> dict[str, pads.Dataset]:
    """Returns the tables below work/ by name, read lazily; one that no phase wrote is empty.

    Raises InputError where work/ was removed.
    """
    layout = Layout(folder, options=dict(options or {}))
    if not layout.store.is_folder(join(layout.work, "decisions")):
        raise InputError(
            f"{layout.work} was removed: the corpus is whole without it, but decisions and signals are gone; build it "
            "again to have them"
        )
    return {
        name: dataset(layout.store, [info.path for _, info in layout.listed(name)], schema)
        for name, schema in TABLES.items()
    }


def check_images(path: str, sample: Sample, images: Sequence[bytes]) -> None:
    """Raises InputError where the bytes of an image are not those that its sample describes."""
    for number, (image, data) in enumerate(zip(sample.images, images, strict=True)):
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise InputError(
                f"{path}: image {number} of the sample {sample.key} is cut or damaged ({len(data):,} bytes of another "
                "digest than its sample says); vlcorpus verify says what else differs"
            )


def shards(folder: str, manifest: Manifest, wanted: Wanted) -> Iterator[str]:
    """Yields the paths of the shards of samples, folder by folder, in the order of their data."""
    split, groups, source = wanted
    for place, order in sorted(manifest.shards.items()):
        _, own, group, owner = place.split("/")
        if split in (None, own) and group in groups and source in (None, owner):
            for stem in (f"{place}/{shard}" for shard in order):
                tar = f"{stem}.tar"
                yield join(folder, tar if tar in manifest.outputs else f"{stem}.parquet")


def dataset(store: Store, paths: Sequence[str], schema: pa.Schema) -> pads.Dataset:
    """Returns Parquet files as one table, read lazily; a flipped bit in a page is an error."""
    if not paths:
        return pads.dataset(schema.empty_table())
    filesystem, inner = store.arrow(paths)
    checked = pads.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = pads.ParquetFileFormat(default_fragment_scan_options=checked)
    if schema is SIGNALS:  # filters of other packages add columns
        schema = pads.dataset(inner[:1], format=form, filesystem=filesystem).schema
    return pads.dataset(inner, schema=schema, format=form, filesystem=filesystem)
