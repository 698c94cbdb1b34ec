"""Packed sequences as one batch of tensors."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batch import IGNORE, PADDING, Batch
from model.packing import Bin, Group, Member

Show = Callable[[Member, int], NDArray[np.uint8] | None]
"""The picture that a member shows at its i-th place, (3, S, S); None where it cannot be decoded."""


class Collator:
    """Fills the rows of one batch; pictures are decoded here, once for all samples that share them."""

    def __init__(
        self, length: int, side: int, padding: int, isolate: bool = True, blind: bool = False
    ) -> None:
        self.length, self.side, self.padding, self.isolate = length, side, padding, isolate
        # pictures keep their places in the text, but nothing is shown there
        self.blind = blind

    def batch(self, bins: Sequence[Bin[Group]], show: Show, fixed: bool = True) -> Batch:
        """The bins as rows of `length` tokens, or of the longest bin's where not `fixed`."""
        longest = max((one.used for one in bins), default=1)
        length = self.length if fixed else min(self.length, -(-longest // 8) * 8)
        rows = [_Row(length, self.padding, self.isolate) for _ in bins]
        pictures: list[NDArray[np.uint8]] = []
        places: list[tuple[int, int]] = []
        names: list[str] = []
        for number, (row, one) in enumerate(zip(rows, bins, strict=True)):
            for group in one.contents:
                for member, place, start in row.add(group):
                    places.append((number, start))
                    names.append(member.pictures[place] if place < len(member.pictures) else "")
                    if self.blind:
                        continue
                    picture = show(member, place)
                    if picture is None:
                        picture = np.zeros((3, self.side, self.side), np.uint8)
                        row.silence()
                    pictures.append(picture)
        empty = np.zeros((0, 3, self.side, self.side), np.uint8)
        return Batch(
            input_ids=_stacked([row.ids for row in rows]),
            targets=_stacked([row.targets for row in rows]),
            positions=_stacked([row.positions for row in rows]),
            groups=_stacked([row.groups for row in rows]),
            parts=_stacked([row.parts for row in rows]),
            pixels=torch.from_numpy(np.stack(pictures) if pictures else empty),
            places=torch.tensor(places, dtype=torch.int64).reshape(-1, 2),
            plain=not self.isolate or all(len(row.keys) <= 1 for row in rows),
            keys=tuple(tuple(row.keys) for row in rows),
            tasks=tuple(one.contents[0].members[0].encoded.task for one in bins),
            names=tuple(names),
        )


def _stacked(rows: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(rows))


class _Row:
    """One sequence being filled."""

    def __init__(self, length: int, padding: int, isolate: bool) -> None:
        self.ids = np.full(length, padding, np.int64)
        self.targets = np.full(length, IGNORE, np.int64)
        self.positions = np.zeros(length, np.int64)
        self.groups = np.full(length, PADDING, np.int32)
        self.parts = np.zeros(length, np.int32)
        self.keys: list[str] = []
        self._isolate, self._at, self._group, self._first = isolate, 0, 0, 0

    def add(self, group: Group) -> list[tuple[Member, int, int]]:
        """Writes a group; gives member, number and first token of each picture that stands in the row."""
        shared = group.shared
        head = self._first = self._at
        shown = []
        if shared:
            first = group.members[0]
            self._write(first, 0, shared, head, 0)
            shown += [(first, number, head + at) for number, at in enumerate(_before(first, shared))]
        for part, member in enumerate(group.members, start=1):
            start = self._at - shared
            self._write(member, shared, len(member.encoded), head, part if shared else 0)
            own = enumerate(member.encoded.places)
            shown += [(member, number, start + at) for number, at in own if at >= shared]
            self.keys.append(member.encoded.key)
        self._group += 1
        return shown

    def _write(self, member: Member, start: int, stop: int, head: int, part: int) -> None:
        one = member.encoded
        here = slice(self._at, self._at + stop - start)
        ids = np.array(one.ids, np.int64)
        self.ids[here] = ids[start:stop]
        # the targets are the ids one place on; the last token has none
        told = ids[start + 1 : stop + 1]
        taught = np.array(one.loss[start + 1 : stop + 1], np.bool_)
        self.targets[self._at : self._at + len(told)] = np.where(taught, told, IGNORE)
        self.groups[here] = self._group
        self.parts[here] = part
        if self._isolate:
            self.positions[here] = np.arange(start, stop)
        else:
            self.positions[here] = np.arange(here.start, here.stop)
        self._at = here.stop

    def silence(self) -> None:
        """The group written last carries no loss: its picture cannot be seen."""
        self.targets[self._first : self._at] = IGNORE


def _before(member: Member, stop: int) -> list[int]:
    return [at for at in member.encoded.places if at < stop]
