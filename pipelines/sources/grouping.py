"""The records of a tar: members that share a key, with the role of each."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from filters.header import sniff
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.ledger import EXAMPLES, Ledger, Unique
from pipelines.sources.records import IMAGE_SUFFIXES
from pipelines.sources.tar import Cut, Damage, Member, link_targets, members, without_dot

Rank = tuple[int, int, str]

_HEAD: Final = 64
SHOWN: Final = frozenset(
    ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JXL", "JPEG2000", "SVG")
)
"""Formats that bytes are taken for an image by, whatever their name."""
_NUMBERED: Final = re.compile(r"\d+\.[^.]+")
_DIGITS: Final = re.compile(r"([0-9]+)")


@dataclass(slots=True, eq=False)
class Sample:
    """The members of one record that matter, and the suffixes of all of them.

    `taken` are those of `images` that its row takes, in their order: the one that is its own, or all where no one can
    tell which.
    """

    member: str
    suffixes: set[str] = field(default_factory=set)
    images: list[tuple[Rank, Member]] = field(default_factory=list)
    taken: list[Member] = field(default_factory=list)
    caption: Member | None = None
    caption_rank: int = 0
    record: Member | None = None
    others: int = 0

    def is_row(self) -> bool:
        """Whether an image, a caption or a record was seen."""
        return bool(self.images or self.caption or self.record)


@dataclass(frozen=True, slots=True)
class Index:
    """The records of a tar in the order of their first members, and what ended it early."""

    samples: list[Sample]
    damage: str | None
    ledger: Ledger


class Roles:
    """What a suffix says a member is, by a source's columns."""

    def __init__(self, columns: Columns) -> None:
        self._images = _ranks(columns.names("image"))
        self._captions = _ranks(columns.names("caption"))
        self._named = columns.image is not None
        self._texts = (*self._captions, "json")

    def take(self, sample: Sample, member: Member, suffix: str) -> bool:
        """Gives the member its role in the record, whatever the order of members; False where it has none."""
        last = suffix.rpartition(".")[2]
        if suffix in self._images or last in IMAGE_SUFFIXES:
            rank = (self._images.get(suffix, len(self._images)), suffix.count("."), suffix)
            sample.images.append((rank, member))
        elif suffix in self._captions:
            rank_of = self._captions[suffix]
            if sample.caption is None or rank_of < sample.caption_rank:
                sample.others += sample.caption is not None
                sample.caption, sample.caption_rank = member, rank_of
            else:
                sample.others += 1
        elif suffix == "json":
            sample.record = member
        else:
            return False
        return True

    def has(self, suffix: str) -> bool:
        """Returns whether a member with the suffix has a role, so that its record is a row."""
        last = suffix.rpartition(".")[2]
        return suffix in self._images or last in IMAGE_SUFFIXES or suffix in self._texts

    def choose(self, sample: Sample, ledger: Ledger) -> None:
        """Sets the images that the record's row takes, and counts its members.

        Of several images the one is taken whose suffix the recipe names first, or the only one whose suffix has no
        dot; never one of a numbered series. The others are in the ledger.
        """
        sample.images.sort(key=lambda found: _order(found[0]))
        own = self._own(sample.images)
        sample.taken = [image for _, image in sample.images] if own is None else [own]
        if own is not None:
            for _, image in sample.images:
                if image is not own:
                    ledger.leave_out("other_image", image.name, image=True)
        taken = len(sample.taken)
        ledger.records += 1
        ledger.images += taken
        ledger.used += taken + bool(sample.caption) + bool(sample.record)
        ledger.metadata += sample.others

    def _own(self, images: list[tuple[Rank, Member]]) -> Member | None:
        """The image of a record's own, given its images by rank; None where no one can tell which."""
        if not images:
            return None
        if len(images) == 1 or (self._named and images[0][0][0] < len(self._images)):
            return images[0][1]
        plain = [image for rank, image in images if not rank[1]]
        numbered = any(_NUMBERED.fullmatch(rank[2]) for rank, _ in images)
        return plain[0] if len(plain) == 1 and not numbered else None

    def merges(self, sample: Sample) -> bool:
        """Whether the key up to the first dot joins what belongs apart.

        So it is where an image `A.B.jpg` has a text of its own, `A.B.txt`, and where images are joined that
        share no text.
        """
        dotted = [rank[2].rpartition(".")[0] for rank, _ in sample.images if rank[1]]
        if not dotted:
            return False
        if any(f"{stem}.{text}" in sample.suffixes for stem in dotted for text in self._texts):
            return True
        if self._named and any(rank[0] < len(self._images) for rank, _ in sample.images):
            return False  # the recipe says which of them is the image
        return len(sample.images) > 1 and not (sample.caption or sample.record)


def index_of(file: BinaryIO, columns: Columns, limits: ReadLimits) -> Index:
    """Returns the records among the tar's members, hard links replaced by what they stand for.

    Keys go up to the first dot, in a tar where that would merge images up to the last (unless `read.names` says).
    """
    roles = Roles(columns)
    index = _index(file, lambda: members(file, limits), roles, limits)
    for sample in index.samples:
        roles.choose(sample, index.ledger)
    _follow(file, index.samples, limits)
    return index


def by_last_dot(file: BinaryIO, found: Sequence[Member], columns: Columns, limits: ReadLimits) -> bool:
    """Returns whether the keys of some members go up to the last dot of their names, not to the first."""
    return _index(file, lambda: iter(found), Roles(columns), limits).ledger.last_dot


def _index(file: BinaryIO, found: Callable[[], Iterator[Member]], roles: Roles, limits: ReadLimits) -> Index:
    index = _grouped(file, found, roles, last_dot=limits.names == "last_dot")
    if limits.names == "auto" and any(roles.merges(sample) for sample in index.samples):
        return _grouped(file, found, roles, last_dot=True)
    return index


def split_name(name: str, last_dot: bool = False) -> tuple[str, str]:
    """Returns a member's name as (key, suffix in lower case); the key is empty for hidden files."""
    folder, slash, last = without_dot(name).rpartition("/")
    if not last or last[0] == ".":
        return "", last.partition(".")[2].lower()
    stem, _, suffix = last.partition(".")
    if last_dot and suffix:
        stem, _, suffix = last.rpartition(".")
    return folder + slash + stem, suffix.lower()


def _grouped(file: BinaryIO, found: Callable[[], Iterator[Member]], roles: Roles, last_dot: bool) -> Index:
    """Groups the members by key.

    A member whose suffix the newest record of its key already has starts another record, named `KEY#2`. Groups
    with neither image, caption nor record (labels, tensors) are no rows, and neither is the record that a cut
    archive ends in.
    """
    records, damage, ledger = _Records(_row_keys(found(), roles, last_dot)), None, Ledger(last_dot=last_dot)
    try:
        for member in found():
            ledger.members += 1
            key, suffix = split_name(member.name, last_dot)
            if not key:
                ledger.leave_out("hidden", member.name, _is_image(file, member))
                continue
            sample = records.of(key, suffix)
            if sample and roles.take(sample, member, suffix):
                continue
            if _is_image(file, member):
                ledger.leave_out("no_row", member.name, image=True)
            elif sample:
                sample.others += 1
            else:
                records.dropped += 1
    except Damage as error:
        damage = str(error)
        if isinstance(error, Cut) and (ended := records.pop(*split_name(error.name, last_dot))):
            _leave_out(ended, "cut", ledger)
    rows = _rows(records.samples.values(), ledger)
    if records.dropped:  # the entry is there: those that were kept come before what was dropped
        ledger.unused["no_row"].members += records.dropped
    return Index(rows, damage, ledger)


def _row_keys(found: Iterator[Member], roles: Roles, last_dot: bool) -> dict[str, int]:
    """Returns the keys of records that may be rows, and of the one in which a cut archive ends, each with -1."""
    keys: dict[str, int] = {}
    try:
        for member in found:
            key, suffix = split_name(member.name, last_dot)
            if key and roles.has(suffix):
                keys[key] = -1
    except Cut as error:
        keys[split_name(error.name, last_dot)[0]] = -1
    except Damage:  # the second reading comes to it again
        pass
    return keys


class _Records:
    """The records of a tar by number, in the order of their first members; memory is in proportion to its rows.

    `newest` has the number of the newest record of each key that may be a row. Of the records that are none, the
    first EXAMPLES are kept, since the ledger names them; `dropped` counts the members of the others.
    """

    def __init__(self, newest: dict[str, int]) -> None:
        self.samples: dict[int, Sample] = {}
        self.dropped = 0
        self._newest = newest
        self._useless: set[str] = set()
        self._unique = Unique()
        self._count = 0
        self._kept = 0
        self._full: int | None = None  # the number from which on records that are no rows are dropped

    def of(self, key: str, suffix: str) -> Sample | None:
        """Returns the record that a member belongs to, a new one where needed; None where it is dropped."""
        number = self._newest.get(key)
        sample = None if number is None else self.samples.get(number)
        if sample is None or suffix in sample.suffixes:
            if number is None or key in self._useless:
                if self._full is not None:
                    self._newest.pop(key, None)
                    return None
                self._useless.add(key)
                self._kept += 1
            elif number is not None and sample and not sample.is_row():
                self._end(key, number, sample)
            sample = self.samples[self._count] = Sample(self._unique.name(key))
            self._newest[key] = self._count
            self._count += 1
            if self._full is None and self._kept >= EXAMPLES:
                self._full = self._count
        sample.suffixes.add(suffix)
        return sample

    def _end(self, key: str, number: int, sample: Sample) -> None:
        """Drops a record of a key that may be a row, now that another follows it and it is none."""
        if self._full is None or number < self._full:
            self._kept += 1
        else:
            del self.samples[number]
            if sample.member != key:  # else the next one would have that name
                self._unique.forget(sample.member)
            self.dropped += sample.others

    def pop(self, key: str, suffix: str) -> Sample | None:
        """Takes out the newest record of a key if a member with the suffix would belong to it."""
        number = self._newest.get(key, -1)
        if number < 0 or suffix in self.samples[number].suffixes:
            return None
        return self.samples.pop(number)


def _rows(samples: Iterable[Sample], ledger: Ledger) -> list[Sample]:
    rows = []
    for sample in samples:
        if sample.is_row():
            rows.append(sample)
        else:
            _leave_out(sample, "no_row", ledger)
    return rows


def _leave_out(sample: Sample, reason: str, ledger: Ledger) -> None:
    """Counts all members of a record that are not counted yet as used by no row."""
    for _, image in sample.images:
        ledger.leave_out(reason, image.name, image=True)
    rest = sample.others + bool(sample.caption) + bool(sample.record)
    if rest:
        suffix = min(sample.suffixes)
        name = f"{sample.member}.{suffix}" if suffix else sample.member
        ledger.leave_out(reason, name, image=False, count=rest)


def _is_image(file: BinaryIO, member: Member) -> bool:
    """Whether the bytes of a member that no suffix announces begin as an image's do."""
    if not member.usable or not member.size:
        return False
    file.seek(member.offset)
    return sniff(file.read(min(member.size, _HEAD))) in SHOWN


def _follow(file: BinaryIO, samples: Iterable[Sample], limits: ReadLimits) -> None:
    """Puts what hard links stand for in their place; a link to nothing stays as it is."""
    linked = [
        sample
        for sample in samples
        if any(part and part.link for part in (*sample.taken, sample.caption, sample.record))
    ]
    if not linked:
        return
    targets = link_targets(file, limits)

    def followed(part: Member) -> Member:
        return targets.get(part.offset, part) if part.link else part

    for sample in linked:
        sample.taken = [followed(image) for image in sample.taken]
        sample.caption = sample.caption and followed(sample.caption)
        sample.record = sample.record and followed(sample.record)


def _order(rank: Rank) -> tuple[object, ...]:
    """What images stand in order by: numbers in their suffixes count as numbers, `2.jpg` stands before `10.jpg`."""
    first, dots, suffix = rank
    parts = _DIGITS.split(suffix)
    return first, dots, [int(part) if place % 2 else part for place, part in enumerate(parts)], suffix


def _ranks(names: tuple[str, ...]) -> dict[str, int]:
    return {name.lower(): rank for rank, name in reversed(list(enumerate(names)))}
