"""Texts and background images that pages are made from: files, folders, globs, and members of shards.

Images are read when they are shown. Text comes from text files in any usual encoding, or from captions.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from pipelines.files import FileInfo, Store, shown
from schemas.errors import InputError
from schemas.parquet import opened
from schemas.sample import Sample, Text
from schemas.strict import FieldError

MOST_MEMBERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a tar, by where its bytes lie."""

    name: str
    offset: int
    size: int


def listed(store: Store, path: str) -> tuple[FileInfo, ...]:
    """Returns the files that a file, folder or glob stands for, sorted by name."""
    if store.is_folder(path):
        return tuple(store.list_files(path))
    if any(mark in path for mark in "*?["):
        return tuple(one.info for one in store.glob(path) if not one.is_folder)
    return (store.info(path),)


def files(store: Store, path: str) -> tuple[FileInfo, ...]:
    """Returns what `listed` does without hidden files, save one that is named. Raises InputError for none."""
    found = listed(store, path)
    if [info.path for info in found] == [path]:
        return found
    seen = tuple(one for one in found if not any(part.startswith(".") for part in one.name.split("/")))
    if not seen:
        raise InputError(f"source {store.source}: no file in {shown(path)}")
    return seen


def is_tar(info: FileInfo) -> bool:
    """Whether the name is that of a tar that can be read by place; compressed ones are not."""
    return info.name.lower().endswith(".tar")


def members(store: Store, info: FileInfo) -> Iterator[Member]:
    """The plain files of a tar in their order; what is no tar, or ends early, is an InputError."""
    with store.reading(info.path), store.open(info.path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for number, one in enumerate(tar):
                    if number == MOST_MEMBERS:
                        return
                    if one.isreg():
                        yield Member(one.name, one.offset_data, one.size)
        except tarfile.TarError as error:
            raise InputError(f"source {store.source}: {shown(info.path)} is no whole tar") from error


def part(store: Store, path: str, member: Member) -> bytes:
    """The bytes of a member."""
    with store.reading(path), store.open(path) as file:
        file.seek(member.offset)
        return file.read(member.size)


SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LARGEST_IMAGE: Final = 64 << 20
"""Bytes of an image; larger ones are passed over."""

Place = tuple[str, Member | None]
"""A path, and where an image lies in it; None for the file itself."""


class Pictures:
    """Encoded images in order of path and name, none of them held."""

    def __init__(self, store: Store, places: Sequence[Place]) -> None:
        self._store = store
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: int, /) -> bytes:
        path, member = self._places[at]
        return self._store.read_bytes(path) if member is None else part(self._store, path, member)


def pictures(store: Store, paths: Sequence[str]) -> Pictures:
    """The images of all `paths`. Raises InputError where a path holds none."""
    places: list[Place] = []
    for path in paths:
        found = list(_places(store, path))
        if not found:
            raise InputError(f"source {store.source}: no picture ({', '.join(SUFFIXES)}) in {shown(path)}")
        places += found
    return Pictures(store, places)


def _places(store: Store, path: str) -> Iterator[Place]:
    for info in files(store, path):
        if is_tar(info):
            yield from ((info.path, one) for one in members(store, info) if _is_picture(one.name, one.size))
        elif _is_picture(info.name, info.size):
            yield info.path, None


def _is_picture(name: str, size: int) -> bool:
    return name.lower().endswith(SUFFIXES) and 0 < size <= LARGEST_IMAGE


LARGEST: Final = 64 << 20
"""Bytes of all text together: it is held in memory."""
_RECORD: Final = 1 << 20
_SUFFIXES: Final = (".txt", ".md", ".parquet", ".tar")
_CAPTIONS: Final = ("caption", "text", "TEXT")


def texts(store: Store, paths: Sequence[str], language: str) -> tuple[str, ...]:
    """The passages of all `paths` (files, folders, globs). Raises InputError, which names the file.

    A tar or a Parquet file is a shard: raw, with captions in `.txt`, `.json` or a column, or one of a
    corpus, with samples. Anything else is a text file.
    """
    from synth.text import passages

    found: list[str] = []
    size = 0
    for info in (one for path in paths for one in _files(store, path)):
        before = len(found)
        for text in _texts(store, info, language):
            size += len(text)
            if size > LARGEST:
                raise InputError(
                    f"source {store.source}: the texts hold more than {LARGEST:,} characters; give fewer"
                )
            found += passages([text])
        if len(found) == before:
            raise InputError(f"source {store.source}: there is no text in {shown(info.path)}")
    return tuple(found)


def _files(store: Store, path: str) -> list[FileInfo]:
    """The file named, or those of a folder or glob that hold text; of a shard and its index only the index."""
    found = files(store, path)
    if [info.path for info in found] == [path]:
        return list(found)
    indexes = {info.path.removesuffix(".parquet") for info in found if info.path.endswith(".parquet")}
    kept = [
        info
        for info in found
        if info.name.lower().endswith(_SUFFIXES) and info.path.removesuffix(".tar") not in indexes
    ]
    if not kept:
        raise InputError(f"source {store.source}: no text ({', '.join(_SUFFIXES)}) in {shown(path)}")
    return kept


def _texts(store: Store, info: FileInfo, language: str) -> Iterator[str]:
    if is_tar(info):
        yield from _of_tar(store, info)
    elif info.name.lower().endswith(".parquet"):
        yield from _of_parquet(store, info)
    else:
        yield _of_file(store, info, language)


def _of_file(store: Store, info: FileInfo, language: str) -> str:
    from synth.text import decode

    if info.size > LARGEST:
        raise InputError(f"source {store.source}: {shown(info.path)} is larger than {LARGEST:,} bytes")
    try:
        return decode(store.read_bytes(info.path, LARGEST), language)
    except InputError as error:
        raise InputError(f"source {store.source}: {shown(info.path)}: {error}") from error


def _of_tar(store: Store, info: FileInfo) -> Iterator[str]:
    for one in members(store, info):
        if one.size > _RECORD or not one.name.lower().endswith((".txt", ".json")):
            continue
        data = part(store, info.path, one)
        if one.name.lower().endswith(".txt"):
            yield data.decode("utf-8", "ignore")
        else:
            yield from _of_record(data)


def _of_record(data: bytes) -> Iterator[str]:
    """The caption of a raw row, or what a sample of a corpus says; a row without any says nothing."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(record, dict) and "views" in record:
        yield from _said(data)
    elif isinstance(record, dict):
        yield from (record[name] for name in _CAPTIONS if isinstance(record.get(name), str))


def _said(sample: bytes | str) -> Iterator[str]:
    try:
        examples = Sample.from_json(sample).examples
    except FieldError:
        return
    yield from (one.text for example in examples for one in example.segments if isinstance(one, Text))


def _of_parquet(store: Store, info: FileInfo) -> Iterator[str]:
    try:
        with store.reading(info.path), store.open(info.path) as file:
            table = opened(file)
            names = [name for name in ("sample", *_CAPTIONS) if name in table.schema_arrow.names]
            if not names:
                raise InputError(
                    f"source {store.source}: {shown(info.path)} has none of the columns sample, "
                    + ", ".join(_CAPTIONS)
                )
            for batch in table.iter_batches(1024, columns=names[:1]):
                yield from _of_column(batch.column(0), names[0])
    except pa.ArrowException as error:
        raise InputError(f"source {store.source}: {shown(info.path)} is no sound Parquet file") from error


def _of_column(column: Any, name: str) -> Iterator[str]:
    for value in column.to_pylist():
        if isinstance(value, str):
            yield from _said(value) if name == "sample" else (value,)


def identities(store: Store, paths: Sequence[str]) -> list[list[str]]:
    """Returns for each path what changes when a file below it does: the kind of each file and what it holds."""
    return [
        [f"{info.name.rpartition('.')[2].lower()} {store.identity_of(info)}" for info in files(store, path)]
        for path in paths
    ]
