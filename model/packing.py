"""Samples packed into sequences: same task, no sample cut, several questions on one image sharing it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from model.encode import Encoded


@dataclass(frozen=True, slots=True)
class Member:
    """An encoded sample, and whose images it shows: members of equal `images` may share them."""

    encoded: Encoded
    images: tuple[str, ...] = ()


@dataclass(slots=True)
class Group:
    """Samples of the same images, which stand once at the head."""

    members: list[Member] = field(default_factory=list)

    @property
    def shared(self) -> int:
        """Returns length of the head that stands once; 0 where there is one sample."""
        return self.members[0].encoded.shared if len(self.members) > 1 else 0

    def __len__(self) -> int:
        shared = self.shared
        return shared + sum(len(member.encoded) - shared for member in self.members)

    def grown(self, member: Member) -> int:
        return len(self) + len(member.encoded) - member.encoded.shared


Content = TypeVar("Content")


@dataclass(slots=True)
class Bin(Generic[Content]):
    """One sequence, of contents that are together `used` tokens long."""

    contents: list[Content]
    used: int


def first_fit(sizes: Sequence[tuple[Content, int]], length: int) -> list[Bin[Content]]:
    """Packs first-fit-decreasing: each content, the longest first, into the first bin with room for it.

    Ties keep the order given. A segment tree over the bins' room finds the first in log time.
    """
    ordered = sorted(sizes, key=lambda one: -one[1])
    room = _Rooms(len(ordered), length)
    bins: list[Bin[Content]] = []
    for content, size in ordered:
        at = room.take(size)
        if at == len(bins):
            bins.append(Bin([], 0))
        bins[at].contents.append(content)
        bins[at].used += size
    return bins


class _Rooms:
    def __init__(self, count: int, length: int) -> None:
        self._leaves = 1 << max(count - 1, 0).bit_length()
        self._tree = [length] * (2 * self._leaves)

    def take(self, size: int) -> int:
        """Returns the first bin with room for `size`, which is taken from it."""
        at = 1
        while at < self._leaves:
            at *= 2
            at += self._tree[at] < size
        found = at - self._leaves
        self._tree[at] -= size
        while at > 1:
            at //= 2
            self._tree[at] = max(self._tree[2 * at], self._tree[2 * at + 1])
        return found


def grouped(members: Iterable[Member], length: int, share: bool = True) -> dict[str, list[Group]]:
    """Returns the members of each task as groups no longer than `length`, in order of appearance."""
    tasks: dict[str, list[Group]] = {}
    open_groups: dict[tuple[str, tuple[str, ...], int], Group] = {}
    for member in members:
        one = member.encoded
        if len(one) > length:
            raise ValueError(f"{one.key} has {len(one)} tokens, more than {length}")
        groups = tasks.setdefault(one.task, [])
        key = (one.task, member.images, one.shared)
        group = open_groups.get(key) if share and one.shared else None
        if group is None or group.grown(member) > length:
            group = open_groups[key] = Group()
            groups.append(group)
        group.members.append(member)
    return tasks


def pack(
    members: Iterable[Member], length: int, share: bool = True, several: bool = True
) -> dict[str, list[Bin[Group]]]:
    """Returns each task's sequences of at most `length` tokens; without `several`, one group a sequence."""
    packed = {}
    for task, groups in grouped(members, length, share).items():
        sizes = [(group, len(group)) for group in groups]
        packed[task] = first_fit(sizes, length) if several else [Bin([group], size) for group, size in sizes]
    return packed


def parted(
    bins: Sequence[Bin[Group]], may_wait: Callable[[Member], bool]
) -> tuple[list[Bin[Group]], list[Bin[Group]]]:
    """Returns the bins of a task to hand out now, and those to pack again with what comes next.

    The emptiest quarter waits, at least one bin, unless it holds a sample that may not wait.
    """
    order = sorted(range(len(bins)), key=lambda at: (bins[at].used, -at))
    waits = {
        at
        for at in order[: -(-len(bins) // 4)]
        if all(may_wait(member) for group in bins[at].contents for member in group.members)
    }
    ready = [one for at, one in enumerate(bins) if at not in waits]
    return ready, [bins[at] for at in sorted(waits)]
