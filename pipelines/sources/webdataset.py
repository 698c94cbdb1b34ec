"""Rows of a WebDataset tar: members that share a key (pipelines/sources/grouping.py).

The headers are read first, the members by seek, so the members of a sample may stand anywhere in
the tar and a later start skips without reading. What is not local and plain is copied to an
anonymous temporary file for that.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO, Final

from pipelines.sources.columns import ReadLimits
from pipelines.sources.grouping import Sample, by_last_dot, index_of, split_name
from pipelines.sources.records import Fields, as_utf8, fields_of, parse_json
from pipelines.sources.shard import Reading, Wanted, check_written
from pipelines.sources.tar import Damage, Member, members, size_at
from pipelines.sources.unpack import LONGEST_MAGIC, packing, unpack
from schemas.errors import RowError, ShardError
from schemas.row import RawImage, RawRow, image_name
from schemas.sample import SAMPLE_FIELDS
from schemas.sample import Sample as Written
from schemas.strict import FieldError

_START: Final = 4096  # bytes of a member that `head` gives
_MEMBERS: Final = 32  # of one sample, at most, that `head` looks at


def read(reading: Reading, start: int) -> Iterator[RawRow]:
    """Yields the rows from number `start` on; then raises ShardError if the tar is damaged.

    The ledger of its members is known before the first row.
    """
    with _opened(reading) as (file, plain, broken):
        index = index_of(file, reading.columns, reading.limits)
        if reading.ledgers is not None:
            reading.ledgers.append(index.ledger)
        for sample in index.samples[start:]:
            yield _row(file, sample, reading, plain)
        if damage := broken or index.damage:
            raise ShardError(
                f"{reading.shard} {damage} (rows read: {len(index.samples)}); write it again or leave it out"
            )


def fetch(reading: Reading, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Yields the image bytes of the members wanted, in that order: by seek if all have offsets."""
    if wanted and all(offset is not None for _, offset in wanted):
        with reading.store.open(reading.shard.path) as file:
            for member, offset in wanted:
                with reading.store.reading(reading.shard.path):
                    data = _at(file, offset or 0, reading.limits)
                if data is None:
                    raise reading.shard.changed(member)
                yield member, data
        return
    with _opened(reading) as (file, _, _):
        images = {
            image_name(sample.member, number): image
            for sample in index_of(file, reading.columns, reading.limits).samples
            for number, image in enumerate(sample.taken)
        }
        for member, _ in wanted:
            found = images.get(member)
            if not found or not found.usable or found.size > reading.limits.image_bytes:
                raise reading.shard.changed(member)
            yield member, _bytes(file, found)


def head(reading: Reading, rows: int) -> list[dict[str, object]]:
    """Returns the first samples as stored: by suffix the start of each member, by name the record's fields."""
    limits = reading.limits
    with _opened(reading, whole=False) as (file, _, _):
        taken: list[Member] = []
        keys: set[str] = set()
        try:
            for member in islice(members(file, limits), rows * _MEMBERS):
                keys.add(split_name(member.name)[0])
                if len(keys - {""}) > rows:
                    break
                taken.append(member)
        except Damage as error:
            if not any(
                split_name(member.name)[0] for member in taken
            ):  # else what precedes the damage counts
                raise ShardError(f"{reading.shard} {error}; write it again or leave it out") from error
        last_dot = by_last_dot(file, taken, reading.columns, limits)
        found: dict[str, dict[str, object]] = {}
        for member in taken:
            key, suffix = split_name(member.name, last_dot)
            if key and member.usable:
                found.setdefault(key, {}).update(_stored(file, member, suffix, limits))
    return list(found.values())


def _stored(file: BinaryIO, member: Member, suffix: str, limits: ReadLimits) -> dict[str, object]:
    if suffix != "json":
        file.seek(member.offset)
        return {suffix: file.read(min(member.size, _START))}
    try:
        return parse_json(_content(file, member, limits.record_bytes, "record"), limits.record_bytes)
    except RowError:  # a row that will be quarantined has no columns to show
        return {}


def _row(file: BinaryIO, sample: Sample, reading: Reading, plain: bool) -> RawRow:
    images: list[RawImage] = []
    caption, written, text = None, None, False
    fields, errors = Fields(), []
    try:
        if sample.record:
            body = _content(file, sample.record, reading.limits.record_bytes, "record")
            record = parse_json(as_utf8(body, reading.limits.encoding), reading.limits.record_bytes)
            written = None if reading.columns.caption else _written(record)
            fields = fields_of(record, reading.columns)
            if written is not None:
                fields.caption = (written.caption or written.text or "").encode()
                fields.url = next((image.url for image in written.images), None)
                text = not written.images and not sample.images
    except RowError as error:
        fields.error = error if error.kind == "bad_row" else RowError("bad_row", error.message)
    try:
        images = [] if text else _images(file, sample, reading, plain)
        if written is not None and images:
            written = check_written(written, len(images))
    except RowError as error:
        errors.append(error)
    try:
        caption = fields.caption
        if sample.caption:
            caption = None
            caption = _content(file, sample.caption, reading.limits.text_bytes, "caption")
            caption = as_utf8(caption, reading.limits.encoding)
    except RowError as error:
        errors.append(error)
    if fields.error:
        errors.append(fields.error)
    return RawRow(
        sample.member,
        images[0].data if images else None,
        caption,
        fields.url,
        images[0].offset if images else None,
        fields.extra,
        errors[0] if errors else None,
        text,
        tuple(images[1:]),
        written if images[1:] else None,
    )


def _written(record: dict[str, object]) -> Written | None:
    """Returns the sample that a record is, where vlcorpus wrote it."""
    if record.keys() != set(SAMPLE_FIELDS):
        return None
    try:
        return Written.from_json(json.dumps(record))
    except FieldError:
        return None


def _images(file: BinaryIO, sample: Sample, reading: Reading, plain: bool) -> list[RawImage]:
    """The images that the record's row takes, in their order."""
    if not sample.taken:
        raise RowError("no_image", "the record has no image; read records of text alone with kind: text")
    suffixes = [rank[2] for rank, _ in sample.images]
    found = reading.images(
        sample.taken,
        lambda image: _content(file, image, reading.limits.image_bytes, "image"),
        f" ({', '.join(suffixes[:5])}{' …' if len(suffixes) > 5 else ''})",
        ", or name the suffix of the one to take in the source's columns, for instance columns: "
        f"{{image: [{suffixes[0]}]}}",
    )
    return [
        RawImage(data, image.offset if plain and image.plain else None)
        for data, image in zip(found, sample.taken, strict=True)
    ]


def _content(file: BinaryIO, member: Member, limit: int, what: str) -> bytes:
    if not member.usable:
        kind = "no_image" if what == "image" else "bad_row"
        if member.link:
            raise RowError(
                kind, f"the {what} is a hard link to {member.link[-100:]!r}, no file before it in the tar"
            )
        raise RowError(kind, f"the {what} is a symbolic link, a sparse file or a device, not a file")
    if member.size > limit:
        raise RowError("too_large", f"the {what} has {member.size} bytes, more than {limit}")
    return _bytes(file, member)


def _bytes(file: BinaryIO, member: Member) -> bytes:
    file.seek(member.offset)
    return file.read(member.size)


def _at(file: BinaryIO, offset: int, limits: ReadLimits) -> bytes | None:
    size = size_at(file, offset)
    if size is None or size > limits.image_bytes:
        return None
    file.seek(offset)
    data = file.read(size)
    return data if len(data) == size else None


@contextmanager
def _opened(reading: Reading, whole: bool = True) -> Iterator[tuple[BinaryIO, bool, str | None]]:
    """The tar as a file with cheap seeks; whether it is not packed; what broke the unpacking.

    Unless it is read `whole`, what is not packed is read where it lies.
    """
    store, path = reading.store, reading.shard.path
    with store.local_copy(path) if whole else store.open(path) as file, store.reading(path):
        packed = packing(file.read(LONGEST_MAGIC))  # by content: suffixes lie
        file.seek(0)
        if packed is None:
            yield file, True, None
            return
        with store.scratch(path) as unpacked:
            broken = unpack(file, unpacked, reading)
            yield unpacked, False, broken
