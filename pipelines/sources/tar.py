"""The members of a tar, header by header, with limits.

Own code and not `tarfile`: that takes a damaged header in the middle for the end of the archive (the
rest would be lost in silence), stops at the first end mark of concatenated tars, admits negative
sizes, and keeps every header it saw. Formats: V7, ustar, pax, GNU (long names, sparse skipped).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from pipelines.sources.columns import ReadLimits

BLOCK: Final = 512
_ZEROS: Final = bytes(BLOCK)
_REGULAR: Final = b"0\x007"
_HARD_LINK: Final = b"1"
_NO_DATA: Final = b"123456"
_FILES: Final = _REGULAR + b"S12346"
_EXTENSIONS: Final = (b"L", b"K", b"x", b"X")
_LONGEST_NAME: Final = 4096
_ALL_NAMES: Final = 128 * 1024 * 1024


class Damage(Exception):
    """The archive cannot be read on; the text says what and where."""


class Cut(Damage):
    """The archive ends inside the member `name`."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True, slots=True)
class Header:
    """One header block; `link` is the name that a link points at."""

    name: bytes
    kind: bytes
    size: int
    link: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive. `usable` is False for links, devices and sparse files.

    `plain`: the block before `offset` tells the size, so that a later seek needs nothing else. `link` is the name
    of the member that a hard link stands for.
    """

    name: str
    offset: int
    size: int
    usable: bool
    plain: bool
    link: str = ""


def parse_header(block: bytes) -> Header:
    """The header in `block`; Damage if it is none."""
    if len(block) < BLOCK:
        raise Damage("ends inside a header")
    stored = _number(block[148:156])
    total = sum(block) - sum(block[148:156]) + 8 * 32  # the field itself counts as blanks
    if stored != total:
        # some old writers summed signed bytes
        high = sum(byte > 127 for byte in block[:148]) + sum(byte > 127 for byte in block[156:])
        if stored != total - 256 * high:
            raise Damage("has a damaged header (wrong checksum)")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].split(b"\0", 1)[0]):
        name = prefix + b"/" + name
    size = _number(block[124:136])
    if size is None or size < 0:
        raise Damage("has a damaged header (size)")
    return Header(name, block[156:157], size, block[157:257].split(b"\0", 1)[0])


def members(file: BinaryIO, limits: ReadLimits) -> Iterator[Member]:
    """Every member that is a file, link or device, in the archive's order; Damage after the last sound one.

    Concatenated archives are read on beyond the first end mark; bytes after it that are no
    archive are left alone. An archive without an end mark is cut: Damage.
    """
    end = file.seek(0, os.SEEK_END)
    if not end:
        raise Damage("is empty")
    at, count, named, closed, said = 0, 0, 0, False, _Said()
    while at < end:
        file.seek(at)
        block = file.read(BLOCK)
        if block == _ZEROS:
            at, closed = at + BLOCK, True
            continue
        try:
            header = parse_header(block)
        except Damage as damage:
            if closed:
                return
            raise Damage(f"{damage} at byte {at}") from None
        count, closed = count + 1, False
        if count > limits.members:
            raise Damage(f"has more than {limits.members} members (the limit is read.members)")
        if header.kind in _EXTENSIONS:
            said.take(header.kind, _extension(file, at + BLOCK, header.size, end, limits), at)
            at += BLOCK + _padded(header.size)
            continue
        offset = _after_sparse_map(file, block, at + BLOCK) if header.kind == b"S" else at + BLOCK
        member, length = said.of(header, offset, at)
        named += length
        if named > _ALL_NAMES:
            raise Damage(f"has names of more than {_ALL_NAMES} bytes")
        stored = 0 if header.kind in _NO_DATA else member.size
        if offset + stored > end:
            raise Cut(
                f"ends inside the member {member.name[-100:]!r}, which starts at byte {at}", member.name
            )
        if header.kind in _FILES:
            yield member
        at, said = offset + _padded(stored), _Said()
    if not closed:
        raise Damage("has no end mark, so it may have been cut")


@dataclass(slots=True)
class _Said:
    """What the headers before a member say of it."""

    name: bytes | None = None
    link: bytes | None = None
    pax: dict[bytes, bytes] = field(default_factory=dict)

    def take(self, kind: bytes, data: bytes, at: int) -> None:
        """Takes a header of the kinds in _EXTENSIONS, which begins at byte `at`."""
        if kind == b"L":
            self.name = data.split(b"\0", 1)[0]
        elif kind == b"K":
            self.link = data.split(b"\0", 1)[0]
        else:
            self.pax = _pax(data, at)

    def of(self, header: Header, offset: int, at: int) -> tuple[Member, int]:
        """Returns the member whose header begins at byte `at` and whose data at `offset`, and the bytes of its name."""
        pax, kind = self.pax, header.kind
        size = _pax_size(pax[b"size"], at) if b"size" in pax else header.size
        name = (pax.get(b"path") or self.name or header.name)[-_LONGEST_NAME:]
        link = _decode(pax.get(b"linkpath") or self.link or header.link) if kind == _HARD_LINK else ""
        is_sparse = bool(pax) and any(key.startswith(b"GNU.sparse.") for key in pax)
        usable = kind in _REGULAR and not is_sparse
        return Member(_decode(name), offset, size, usable, b"size" not in pax, link[-_LONGEST_NAME:]), len(
            name
        )


def link_targets(file: BinaryIO, limits: ReadLimits) -> dict[int, Member]:
    """Returns the file that each hard link stands for, by the link's offset; links to no file are left out.

    A link stands for the newest member of its target's name before it, as it does when the archive is unpacked.
    """
    named = {without_dot(member.link) for member in _sound(file, limits) if member.link}
    newest: dict[str, Member] = {}
    targets: dict[int, Member] = {}
    for member in _sound(file, limits):
        own = member
        if member.link:
            target = newest.get(without_dot(member.link))
            if target is None:
                continue
            own = targets[member.offset] = target
        if own.usable and (name := without_dot(member.name)) in named:
            newest[name] = own
    return targets


def without_dot(name: str) -> str:
    """Returns a member's name without `./` before it."""
    while name.startswith("./"):
        name = name[2:]
    return name


def _sound(file: BinaryIO, limits: ReadLimits) -> Iterator[Member]:
    """Yields the members before the damage, if there is any."""
    with suppress(Damage):
        yield from members(file, limits)


def size_at(file: BinaryIO, offset: int) -> int | None:
    """The size of the plain member whose data starts at `offset`, or None if no header precedes it."""
    if offset < BLOCK:
        return None
    file.seek(offset - BLOCK)
    try:
        header = parse_header(file.read(BLOCK))
    except Damage:
        return None
    return header.size if header.kind in _REGULAR else None


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _number(digits: bytes) -> int | None:
    """A header's number: octal text, or GNU's base 256 (whose sign bit is honoured)."""
    if digits[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(digits[1:], "big", signed=digits[0] == 0xFF)
    text = digits.split(b"\0", 1)[0].strip()
    if not text.isdigit():
        return None if text else 0
    try:
        return int(text, 8)
    except ValueError:  # the digits 8 and 9
        return None


def _extension(file: BinaryIO, offset: int, size: int, end: int, limits: ReadLimits) -> bytes:
    if size > limits.header_bytes:
        raise Damage(
            f"has an extended header of {size} bytes at byte {offset}, more than {limits.header_bytes}"
        )
    if offset + size > end:
        raise Damage(f"ends inside an extended header, which starts at byte {offset}")
    file.seek(offset)
    return file.read(size)


def _pax(data: bytes, at: int) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE\\n` of a pax header."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(data) and data[start]:
        digits, space, _ = data[start : start + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[start + len(digits) + 1 : start + length]
        key, equals, value = record.partition(b"=")
        if not space or not equals or value[-1:] != b"\n" or start + length > len(data):
            raise Damage(f"has a malformed pax header at byte {at}")
        records[key] = value[:-1]
        start += length
    return records


def _pax_size(value: bytes, at: int) -> int:
    if not value.isdigit() or len(value) > 19:
        raise Damage(f"has a malformed pax size at byte {at}")
    return int(value)


def _after_sparse_map(file: BinaryIO, block: bytes, offset: int) -> int:
    """Where the data of an old GNU sparse file starts: after the blocks that go on with its map."""
    more = block[482:483]
    while more and more != b"\0":
        file.seek(offset)
        more = file.read(BLOCK)[504:505]
        offset += BLOCK
    return offset
