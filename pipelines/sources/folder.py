"""Rows of a folder of images: with a JSONL or CSV file that names them, or with sidecars.

A JSONL or CSV file is one shard; its records name images relative to the folder it is in, and
never outside it. Without such a file (img2dataset's "files" layout) each folder that holds
images is a shard, and IMAGE.txt and IMAGE.json go with IMAGE.jpg. Members are paths
without suffix.
"""

import hashlib
import posixpath
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from pipelines.files import FileInfo, Store, join, shown
from pipelines.sources import text
from pipelines.sources.ledger import Unique
from pipelines.sources.lines import Record
from pipelines.sources.records import IMAGE_SUFFIXES, Fields, as_utf8, fields_of, parse_json
from pipelines.sources.shard import InputShard, Reading, Wanted, numbered
from pipelines.sources.text import names as table_names
from pipelines.sources.text import records
from schemas.errors import InputError, RowError, ShardError
from schemas.row import RawImage, RawRow, image_name

if TYPE_CHECKING:
    from pipelines.recipe.model import Source

FILE_NAMES: Final = ("file_name", "file", "image_path", "path", "filepath", "filename")
"""Columns that hold an image's path, tried after those of the column map."""

Entry = tuple[str, list[str] | RowError, Record]


def read(reading: Reading, start: int) -> Iterator[RawRow]:
    """The rows from number `start` on; images are opened only for these."""
    if reading.shard.format == "files":
        for member, info, beside in islice(_images(reading), start, None):
            yield _sidecar_row(member, info, beside, reading)
        return
    for member, images, record in islice(_entries(reading), start, None):
        yield _row(member, images, record, reading)


def fetch(reading: Reading, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """The image bytes of the members wanted, in the order of the shard."""
    left = {member for member, _ in wanted}
    paths: Iterator[tuple[str, str]]
    if reading.shard.format == "files":
        paths = ((member, info.path) for member, info, _ in _images(reading))
    else:
        paths = (
            (image_name(member, number), path)
            for member, images, _ in _entries(reading)
            for number, path in enumerate([] if isinstance(images, RowError) else images)
        )
    for member, path in paths:
        if member in left:
            left.remove(member)
            try:
                yield member, _image(path, reading)
            except RowError as error:
                raise reading.shard.changed(member) from error
        if not left:
            return
    if left:
        raise reading.shard.changed(min(left))


def head(reading: Reading, rows: int) -> list[dict[str, object]]:
    """Returns the first records as stored; for images with sidecars the fields of these."""
    if reading.shard.format != "files":
        return text.head(reading, rows)
    return [_beside(beside, reading) for _, _, beside in islice(_images(reading), rows)]


def _beside(beside: dict[str, FileInfo], reading: Reading) -> dict[str, object]:
    """The content of an image's sidecars, by suffix, and by name the fields of the record."""
    found: dict[str, object] = {}
    for suffix, info in beside.items():
        try:
            data = _bytes(info.path, reading, reading.limits.record_bytes, "sidecar")
            found.update(
                parse_json(data, reading.limits.record_bytes) if suffix == "json" else {suffix: data}
            )
        except RowError:  # a row that will be quarantined has no columns to show
            continue
    return found


def held_in(shard: InputShard) -> str:
    """Returns the folder that a shard's identity is of; with a / at its end where folders below it count too."""
    return shard.path if shard.format == "files" else f"{shard.path.rpartition('/')[0] or '.'}/"


def identity(shard: InputShard, source: "Source", store: Store) -> str:
    """What changes when the table does or a file below its folder, or a file in the folder of images."""
    alone = shard.format == "files"
    digest = hashlib.sha256()
    for info in store.list_files(held_in(shard)):
        if info.size >= 0 and not (alone and "/" in info.name):
            digest.update(f"{info.name}\0{store.identity_of(info)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def named_images(reading: Reading) -> set[str] | None:
    """The paths of the images that a table's records name; None where the table is damaged or holds no record."""
    mapped = _mapped(reading)
    there = table_names(mapped)
    if not set(there) & set(mapped.columns.names("image")):
        return set() if there else None
    try:
        entries = _entries(reading)
        return {path for _, images, _ in entries if isinstance(images, list) for path in images}
    except ShardError:  # measure reports the damage
        return None


def _mapped(reading: Reading) -> Reading:
    """The reading whose columns have all names that may hold an image's path."""
    columns = reading.columns
    if columns.required("image"):
        return reading
    named = columns.model_copy(update={"image": (*columns.names("image"), *FILE_NAMES, "images")})
    return replace(reading, columns=named)


def _entries(reading: Reading) -> Iterator[Entry]:
    """(member, the paths of its images or what is wrong with them, record) of each record."""
    mapped = _mapped(reading)
    names = mapped.columns.names("image")
    unique, folder = Unique(), posixpath.dirname(reading.shard.path) or "."
    for number, record in records(mapped, ("image",)):
        images: list[str] | RowError
        if isinstance(record, RowError):
            member, images = str(number), record
        else:
            try:
                inside = _named(record, names)
                member, images = posixpath.splitext(inside[0])[0], [join(folder, path) for path in inside]
            except RowError as error:
                member, images = str(number), error
        yield unique.name(shown(member)), images, record


def _named(record: dict[str, object], names: tuple[str, ...]) -> list[str]:
    """The paths of a record's images below the file's folder; RowError if there is none or one leads out."""
    value = next((record[name] for name in names if record.get(name)), None)
    values = value if isinstance(value, list) else [value]
    return [numbered(number, len(values), _inside, one) for number, one in enumerate(values)]


def _inside(value: object) -> str:
    """The image's path below the file's folder."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str) and shown(value) != value:
        raise RowError("bad_row", "the image's path is no UTF-8")
    if value is None:
        raise RowError("no_image", "the record names no image")
    if not isinstance(value, str):
        raise RowError("bad_row", f"the image's path is of type {type(value).__name__}, not text")
    path = posixpath.normpath(value)
    leads_out = value.startswith("/") or path == ".." or path.startswith("../") or "://" in value
    if leads_out or "\0" in value or len(value) > 4096:
        raise RowError("bad_row", "the image's path leads out of the folder of the file that names it")
    return path


def _row(member: str, images: list[str] | RowError, record: Record, reading: Reading) -> RawRow:
    if isinstance(record, RowError):
        return RawRow(member, None, None, error=record)
    fields = fields_of(record, reading.columns)
    found: list[bytes] = []
    error = fields.error
    try:
        if isinstance(images, RowError):
            raise images
        found = reading.images(images, lambda path: _image(path, reading))
    except RowError as failure:
        error = failure
    return RawRow(
        member,
        found[0] if found else None,
        fields.caption,
        fields.url,
        None,
        fields.extra,
        error,
        further=tuple(map(RawImage, found[1:])),
    )


def _image(path: str, reading: Reading) -> bytes:
    """The image's bytes; an image that is not there is the row's error, a store that fails is not."""
    return _bytes(path, reading, reading.limits.image_bytes, "image")


def _bytes(path: str, reading: Reading, limit: int, what: str) -> bytes:
    try:
        data = reading.store.read_bytes(path, limit)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            raise RowError("no_image", f"the {what} that the record names is not there") from error
        if isinstance(error.__cause__, OSError | ValueError) and "too long" in str(error):
            raise RowError("bad_row", f"the {what}'s path is too long") from error
        raise
    if len(data) > limit:
        raise RowError("too_large", f"the {what} has more than {limit} bytes")
    return data


def _images(reading: Reading) -> Iterator[tuple[str, FileInfo, dict[str, FileInfo]]]:
    """(member, image, the sidecars by suffix) of each image directly in the folder, by name."""
    here = [
        info
        for info in reading.store.list_files(reading.shard.path)
        if "/" not in info.name and not info.name.startswith(".")
    ]
    beside: dict[str, dict[str, FileInfo]] = {}
    for info in here:
        stem, suffix = posixpath.splitext(info.name)
        if suffix[1:].lower() in ("txt", "json", "caption"):
            beside.setdefault(stem, {})[suffix[1:].lower()] = info
    unique = Unique()
    for info in here:
        stem, suffix = posixpath.splitext(info.name)
        if suffix[1:].lower() in IMAGE_SUFFIXES:
            yield unique.name(shown(stem)), info, beside.get(stem, {})


def _sidecar_row(member: str, info: FileInfo, beside: dict[str, FileInfo], reading: Reading) -> RawRow:
    fields, image, caption, error = Fields(), None, None, None
    try:
        image = _image(info.path, reading)
        if record := beside.get("json"):
            data = _bytes(record.path, reading, reading.limits.record_bytes, "record")
            data = as_utf8(data, reading.limits.encoding)
            fields = fields_of(parse_json(data, reading.limits.record_bytes), reading.columns)
            error = fields.error
        text = next((beside[name] for name in ("txt", "caption") if name in beside), None)
        caption = fields.caption
        if text:
            caption = _bytes(text.path, reading, reading.limits.text_bytes, "caption")
            caption = as_utf8(caption, reading.limits.encoding)
    except RowError as failure:
        error = failure
    return RawRow(member, image, caption, fields.url, None, fields.extra, error)
