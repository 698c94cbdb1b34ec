"""Rows of a WebDataset tar: members that share the path up to the first dot of its last part.

The headers are read first, the members by seek, so the members of a sample may stand anywhere in
the tar and a later start skips without reading. What is not local and plain is copied to an
anonymous temporary file for that.
"""

import gzip
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, Final

from pipelines.files import MIB, Store
from pipelines.readers.names import Unique
from pipelines.readers.records import IMAGE_SUFFIXES, Fields, fields_of, parse_json
from pipelines.readers.shard import InputShard
from pipelines.readers.tar import Cut, Damage, Member, members, size_at
from schemas.columns import Columns, ReadLimits
from schemas.errors import RowError, ShardError
from schemas.row import RawRow

log = logging.getLogger(__name__)

Rank = tuple[int, int, str]
Wanted = Sequence[tuple[str, int | None]]

_FREE: Final = 256 * MIB  # gzip may unpack to this much, whatever its ratio
_START: Final = 4096  # bytes of a member that `head` gives
_MEMBERS: Final = 32  # of one sample, at most, that `head` looks at


@dataclass(slots=True, eq=False)
class Sample:
    """The members of one sample that matter, and the suffixes of all of them."""

    member: str
    suffixes: set[str] = field(default_factory=set)
    image: Member | None = None
    image_rank: Rank = (0, 0, "")
    caption: Member | None = None
    caption_rank: int = 0
    record: Member | None = None

    def is_row(self) -> bool:
        """Whether a picture, a caption or a record was seen."""
        return bool(self.image or self.caption or self.record)


@dataclass(frozen=True, slots=True)
class Index:
    """The samples of a tar in the order of their first members, and what ended it early."""

    samples: list[Sample]
    damage: str | None


def read(
    shard: InputShard, columns: Columns, store: Store, start: int, limits: ReadLimits
) -> Iterator[RawRow]:
    """The rows from number `start` on, then ShardError if the tar is damaged."""
    with _opened(shard, store, limits) as (file, plain, broken):
        index = index_of(members(file, limits), columns)
        for sample in index.samples[start:]:
            yield _row(file, sample, columns, limits, plain)
        if damage := broken or index.damage:
            raise ShardError(
                f"{shard} {damage} (rows read: {len(index.samples)}); write it again or leave it out"
            )


def fetch(
    shard: InputShard, columns: Columns, wanted: Wanted, store: Store, limits: ReadLimits
) -> Iterator[tuple[str, bytes]]:
    """The image bytes of the members wanted, in that order: by seek if all have offsets."""
    if wanted and all(offset is not None for _, offset in wanted):
        with store.open(shard.path) as file:
            for member, offset in wanted:
                with store.reading(shard.path):
                    data = _at(file, offset or 0, limits)
                if data is None:
                    raise _changed(shard, member)
                yield member, data
        return
    with _opened(shard, store, limits) as (file, _, _):
        images = {sample.member: sample.image for sample in index_of(members(file, limits), columns).samples}
        for member, _ in wanted:
            found = images.get(member)
            if not found or not found.usable or found.size > limits.image_bytes:
                raise _changed(shard, member)
            yield member, _bytes(file, found)


def head(shard: InputShard, store: Store, limits: ReadLimits, rows: int) -> list[dict[str, object]]:
    """Returns the first samples as stored: by suffix the start of each member, by name the record's fields."""
    found: dict[str, dict[str, object]] = {}
    with _readable(shard, store, limits) as file:
        try:
            for member in islice(members(file, limits), rows * _MEMBERS):
                key, suffix = split_name(member.name)
                if len(found) == rows and key not in found:
                    break
                if key and member.usable:
                    found.setdefault(key, {}).update(_stored(file, member, suffix, limits))
        except Damage as error:
            if not found:  # else what was read before the damage counts
                raise ShardError(f"{shard} {error}; write it again or leave it out") from error
    return list(found.values())


def _stored(file: BinaryIO, member: Member, suffix: str, limits: ReadLimits) -> dict[str, object]:
    if suffix != "json":
        file.seek(member.offset)
        return {suffix: file.read(min(member.size, _START))}
    try:
        return parse_json(_content(file, member, limits.record_bytes, "record") or b"", limits.record_bytes)
    except RowError:  # a row that will be quarantined has no columns to show
        return {}


def split_name(name: str) -> tuple[str, str]:
    """A member's name as (key, suffix in lower case); the key is empty for hidden files."""
    while name.startswith("./"):
        name = name[2:]
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return (folder + slash + stem if stem else ""), suffix.lower()


def index_of(found: Iterable[Member], columns: Columns) -> Index:
    """The samples among the members.

    A member whose suffix the newest sample of its key already has starts another sample, named
    `KEY#2`. Groups with neither picture, caption nor record (labels, tensors) are no rows, and
    neither is the sample that a cut archive ends in.
    """
    newest: dict[str, Sample] = {}
    samples: list[Sample] = []
    unique, damage, others = Unique(), None, 0
    suffix_ranks = {name.lower(): rank for rank, name in reversed(list(enumerate(columns.names("image"))))}
    caption_ranks = {name.lower(): rank for rank, name in reversed(list(enumerate(columns.names("caption"))))}
    try:
        for member in found:
            key, suffix = split_name(member.name)
            if not key:
                others += 1
                continue
            sample = newest.get(key)
            if sample is None or suffix in sample.suffixes:
                sample = newest[key] = Sample(unique.name(key))
                samples.append(sample)
            sample.suffixes.add(suffix)
            _take(sample, member, suffix, suffix_ranks, caption_ranks)
    except Damage as error:
        damage = str(error)
        if isinstance(error, Cut):
            key, suffix = split_name(error.name)
            if key in newest and suffix not in newest[key].suffixes:
                samples.remove(newest[key])
    rows = [sample for sample in samples if sample.is_row()]
    if others or len(rows) < len(samples):
        log.info(
            "%d hidden members and %d groups without picture, caption or record",
            others,
            len(samples) - len(rows),
        )
    return Index(rows, damage)


def _take(
    sample: Sample, member: Member, suffix: str, image_ranks: dict[str, int], caption_ranks: dict[str, int]
) -> None:
    """Keep the member if it is the best of its role so far; the order of members makes no difference."""
    last = suffix.rpartition(".")[2]
    if suffix in image_ranks or last in IMAGE_SUFFIXES:
        rank = (image_ranks.get(suffix, len(image_ranks)), suffix.count("."), suffix)
        if sample.image is None or rank < sample.image_rank:
            sample.image, sample.image_rank = member, rank
    elif suffix in caption_ranks:
        if sample.caption is None or caption_ranks[suffix] < sample.caption_rank:
            sample.caption, sample.caption_rank = member, caption_ranks[suffix]
    elif suffix == "json":
        sample.record = member


def _row(file: BinaryIO, sample: Sample, columns: Columns, limits: ReadLimits, plain: bool) -> RawRow:
    image, caption = None, None
    fields, errors = Fields(), []
    try:
        image = _content(file, sample.image, limits.image_bytes, "picture")
    except RowError as error:
        errors.append(error)
    try:
        if sample.record:
            record = _content(file, sample.record, limits.record_bytes, "record") or b""
            fields = fields_of(parse_json(record, limits.record_bytes), columns)
    except RowError as error:
        fields.error = error if error.kind == "bad_row" else RowError("bad_row", error.message)
    try:
        caption = (
            _content(file, sample.caption, limits.text_bytes, "caption") if sample.caption else fields.caption
        )
    except RowError as error:
        errors.append(error)
    if fields.error:
        errors.append(fields.error)
    offset = (
        sample.image.offset if sample.image and plain and sample.image.plain and image is not None else None
    )
    return RawRow(
        sample.member, image, caption, fields.url, offset, fields.extra, errors[0] if errors else None
    )


def _content(file: BinaryIO, member: Member | None, limit: int, what: str) -> bytes:
    if member is None:
        raise RowError("no_image", "the sample has no picture")
    if not member.usable:
        kind = "no_image" if what == "picture" else "bad_row"
        raise RowError(kind, f"the {what} is a link, a sparse file or a device, not a file")
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


def _changed(shard: InputShard, member: str) -> ShardError:
    return ShardError(f"{shard} no longer holds the picture of {member!r}: it changed; measure it again")


@contextmanager
def _readable(shard: InputShard, store: Store, limits: ReadLimits) -> Iterator[BinaryIO]:
    """The tar as a file; what is not compressed is read where it lies, for its start."""
    with store.open(shard.path) as file, store.reading(shard.path):
        if file.read(2) != b"\x1f\x8b":
            yield file
            return
    with _opened(shard, store, limits) as (unpacked, _, _):
        yield unpacked


@contextmanager
def _opened(
    shard: InputShard, store: Store, limits: ReadLimits
) -> Iterator[tuple[BinaryIO, bool, str | None]]:
    """The tar as a file with cheap seeks; whether it is uncompressed; what broke the decompression."""
    with store.local_copy(shard.path) as file:
        with store.reading(shard.path):
            packed = file.read(2) == b"\x1f\x8b"  # by content: suffixes lie
            file.seek(0)
        if not packed:
            yield file, True, None
            return
        with store.scratch(shard.path) as unpacked:
            broken = _unpack(file, unpacked, shard, store, limits)
            yield unpacked, False, broken


def _unpack(
    file: BinaryIO, unpacked: BinaryIO, shard: InputShard, store: Store, limits: ReadLimits
) -> str | None:
    """Decompress all that can be; None, or why the rest cannot."""
    most = max(_FREE, limits.ratio * shard.size)
    done = 0
    stream = gzip.GzipFile(fileobj=file, mode="rb")
    while True:
        try:
            block = stream.read1(MIB)  # one step, so that what precedes damage is not lost with it
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            return f"has damaged gzip data after {done} bytes ({type(error).__name__})"
        if not block:
            return None
        done += len(block)
        if done > most:
            return f"unpacks to more than {limits.ratio} times its size"
        with store.unpacking(shard.path):
            unpacked.write(block)
