"""The one way in which the manifest of a corpus is read, with the list of its files where it has one."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.files import Store, join
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
        return manifest.with_list(load_list(data, manifest.files, manifest.outputs))
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise VerifyError(f"{folder}: the list of files cannot be read: {error}") from error
        what = f"{folder} lacks {manifest.files}, the list of files that its manifest.json names"
        raise VerifyError(f"{what}: {_remedy(folder)}") from error
    except VerifyError as error:
        raise VerifyError(f"{folder}: {error}: {_remedy(folder)}") from error


def _remedy(folder: str) -> str:
    """Returns what a person does about a list that is not what the manifest names."""
    return f"put it back from a copy, or build again with the same recipe and --out {folder}"


def digest_of(folder: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """Returns the SHA-256 of the manifest, by which a reader knows the corpus; VerifyError where there is none."""
    return hashlib.sha256(manifest_bytes(Store(storage_options), folder)).hexdigest()


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
