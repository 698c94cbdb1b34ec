"""The one way in which the manifest of a corpus is read, with the list of its files where it has one."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.files import MIB, Store, join
from schemas.errors import InputError, VerifyError
from schemas.manifest import MANIFEST, MAX_BYTES, Manifest, load
from schemas.manifest_files import MAX_LIST, load_list


def read_manifest(store: Store, folder: str) -> Manifest:
    """Returns the manifest of the corpus in `folder`, its sums unchecked.

    Raises VerifyError where there is none, or its list of files is missing or another.
    """
    return with_list(store, folder, load(manifest_bytes(store, folder), sums=False))


def manifest_bytes(store: Store, folder: str) -> bytes:
    """Returns what stands in manifest.json; raises VerifyError where there is none."""
    try:
        return store.read_bytes(join(folder, MANIFEST), MAX_BYTES)
    except InputError as error:
        raise _none(folder, error) from error


def with_list(store: Store, folder: str, manifest: Manifest) -> Manifest:
    """Returns a manifest as manifest.json has it with the files of its list, where it has one."""
    if manifest.files is None:
        return manifest
    size = manifest.outputs[manifest.files].size
    if size > MAX_LIST:
        raise VerifyError(f"manifest.json names a list of {size:,} bytes, above the limit of {MAX_LIST:,}")
    try:
        data = store.read_bytes(join(folder, manifest.files), size)
    except InputError as error:
        raise VerifyError(
            f"{folder} lacks {manifest.files}, the list of files that its manifest.json names: {error}"
        ) from error
    return manifest.with_list(load_list(data, manifest.files, manifest.outputs))


def digest_of(folder: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """Returns the SHA-256 of the manifest, by which a reader knows the corpus; VerifyError where there is none."""
    store, path = Store(storage_options), join(folder, MANIFEST)
    try:
        with store.reading(path), store.open(path) as file:
            digest = hashlib.sha256()
            for block in iter(lambda: file.read(MIB), b""):
                digest.update(block)
            return digest.hexdigest()
    except InputError as error:
        raise _none(folder, error) from error


def _none(folder: str, error: InputError) -> VerifyError:
    return VerifyError(f"{folder} holds no corpus that can be verified: {error}")


def unnamed(names: Iterable[str], manifest: Iterable[str]) -> Iterator[str]:
    """Yields those of `names` that a manifest does not name; both are sorted."""
    named = iter(manifest)
    at = next(named, None)
    for name in names:
        while at is not None and at < name:
            at = next(named, None)
        if name != at:
            yield name
