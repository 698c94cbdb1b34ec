"""What a task wrote, and what a task may believe of the files that it reads.

Whoever runs a task hears which files it put into place (`witnessed`); their descriptions go into its receipt, so that
no phase has to name its files. A later task is told the digests of the files that it will read (`believing`); what
reads one of them holds it against its digest (`held`).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Final

import xxhash

from pipelines.files import MIB, FileInfo, Store, is_local, local_path, shown, witnessing
from schemas.errors import DamagedError, InputError
from schemas.parquet import opened


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a task wrote: its name below the corpus's folder, its size, its rows where it is Parquet.

    `digest` is the XXH3 of its bytes, against damage. `stamp` is that of FileInfo: where it is another, the file is
    read to compare its digest.
    """

    name: str
    size: int
    rows: int | None
    digest: str
    stamp: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a receipt holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Output":
        """Returns the output that `to_json` wrote; TypeError where a value is missing or one too many."""
        return cls(**value)


def digest_of(file: BinaryIO) -> str:
    """Returns the XXH3 of a file's bytes, from where it stands to its end."""
    digest = xxhash.xxh3_128()
    for block in iter(lambda: file.read(4 * MIB), b""):
        digest.update(block)
    return digest.hexdigest()


def described(name: str, path: str, stamp: str) -> Output:
    """Returns the description of a file that lies at a local path."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = digest_of(file)
        rows = None
        if name.endswith(".parquet"):
            file.seek(0)
            rows = opened(file).metadata.num_rows
    return Output(name, size, rows, digest, stamp)


@contextmanager
def witnessed(kept: list[dict[str, Any]] | None = None) -> Iterator[list[dict[str, Any]]]:
    """Collects the descriptions of the files that are written meanwhile, under their whole paths.

    Those of scratch files go to `kept`, or nowhere.
    """
    found: list[dict[str, Any]] = []

    def witness(final: str, path: str, stamp: str, scratch: bool) -> None:
        chosen = kept if scratch else found
        if chosen is not None:
            chosen.append(described(final, path, stamp).to_json())

    with witnessing(witness):
        yield found


_BELIEVED: Final[dict[str, str]] = {}
"""Digests of files that the task at hand reads, by path."""


@contextmanager
def believing(digests: Mapping[str, str]) -> Iterator[None]:
    """Has files held against these digests, by path, when they are read meanwhile."""
    _BELIEVED.update(digests)
    try:
        yield
    finally:
        for path in digests:
            _BELIEVED.pop(path, None)


def held(path: str, data: bytes) -> bytes:
    """Returns a file's bytes. Raises DamagedError where they are not those that are believed to lie there."""
    expected = _BELIEVED.get(path)
    if expected is not None and xxhash.xxh3_128_hexdigest(data) != expected:
        raise damaged(path, "it holds other bytes than its receipt says")
    return data


def damaged(path: str, what: str) -> DamagedError:
    """Returns the error for a file that a phase wrote and another cannot use."""
    return DamagedError(f"{shown(path)}{_IS_DAMAGED}{what}): run the same command again to make it again")


_IS_DAMAGED: Final = " is damaged ("


def damaged_path(error: DamagedError) -> str:
    """Returns the path that a DamagedError is about, as it is shown."""
    return str(error).partition(_IS_DAMAGED)[0]


def check_whole(store: Store, digests: Mapping[str, str]) -> None:
    """Raises DamagedError for the first of these files, by path, that holds other bytes."""
    for path, expected in digests.items():
        try:
            with store.reading(path), store.open(path) as file:
                found = digest_of(file)
        except InputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise damaged(path, "it is missing") from error
        if found != expected:
            raise damaged(path, "it holds other bytes than its receipt says")


def difference(store: Store, output: Output, info: FileInfo | None, *, whole: bool = False) -> str | None:
    """Returns what is wrong with an output as it lies there; None where it is as described.

    Reads it only where its stamp is another, or where it is asked for as a `whole`.
    """
    if info is None:
        return "is missing"
    if info.size != output.size:
        return f"has {info.size:,} bytes instead of {output.size:,}" if info.size else "is empty"
    if info.stamp == output.stamp and not whole:
        return None
    path = local_path(info.path) if is_local(info.path) else info.path
    with store.reading(path), store.open(path) as file:
        return None if digest_of(file) == output.digest else "holds other bytes than were written"
