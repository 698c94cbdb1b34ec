"""One step's input: its tensors, how packed sequences fill them, and how they cross to another process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.packing import Bin, Group, Member

IGNORE = -100
"""The target of a token that carries no loss."""
PADDING = -1
"""The group of a token that fills a sequence up."""

_TENSORS: Final = ("pixels", "input_ids", "targets", "positions", "places", "groups", "parts")
_ALIGNED: Final = 64

_Shapes = tuple[tuple[torch.dtype, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """B packed sequences of T tokens with P images.

    `targets[b, t]` is the token to predict at t, already shifted. Samples of one image share a `group`;
    its `part` 0 is what they have in common and k its k-th sample. `places[p]` is the row and the first
    token of image p's span, `names[p]` its SHA-256; there are no `pixels` where images are not shown.
    `plain`: attention is causal alone, no sample is kept from another.
    """

    input_ids: Tensor  # (B, T) int64
    targets: Tensor  # (B, T) int64
    positions: Tensor  # (B, T) int64
    groups: Tensor  # (B, T) int32
    parts: Tensor  # (B, T) int32
    pixels: Tensor  # (P, 3, S, S) uint8
    places: Tensor  # (P, 2) int64
    plain: bool
    keys: tuple[tuple[str, ...], ...]
    tasks: tuple[str, ...]
    names: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Batch":
        """Returns the same batch on `device`."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("input_ids", "targets", "positions", "groups", "parts", "pixels", "places")
        }
        return replace(self, **moved)

    @property
    def supervised(self) -> int:
        """Returns how many tokens carry loss."""
        return int((self.targets != IGNORE).sum())

    @property
    def decoded(self) -> int:
        """Returns how many images were decoded for it: each once, wherever it stands in the sequences."""
        return len(set(self.names)) if len(self.pixels) else 0

    @property
    def tokens(self) -> int:
        """Returns how many tokens are no padding."""
        return int((self.groups != PADDING).sum())


def attention_mask(groups: Tensor, parts: Tensor) -> Tensor:
    """Returns (B, 1, T, T), true where row t may look at column s: not later, same group, shared or same part."""
    length = groups.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=groups.device).tril()
    group = groups[:, :, None] == groups[:, None, :]
    part = (parts[:, None, :] == 0) | (parts[:, :, None] == parts[:, None, :])
    return (causal & group & part)[:, None]


Show = Callable[[Member, int], NDArray[np.uint8] | None]
"""The image that a member shows at its i-th place, (3, S, S); None where it cannot be decoded.

It decodes each image once a batch.
"""


class Collator:
    """Fills the rows of one batch."""

    def __init__(
        self, length: int, side: int, padding: int, isolate: bool = True, blind: bool = False
    ) -> None:
        self.length, self.side, self.padding, self.isolate = length, side, padding, isolate
        # images keep their places in the text, but nothing is shown there
        self.blind = blind

    def batch(self, bins: Sequence[Bin[Group]], show: Show, fixed: bool = True) -> Batch:
        """Returns the bins as rows of `length` tokens, or of the longest bin's where not `fixed`."""
        longest = max((one.used for one in bins), default=1)
        length = self.length if fixed else min(self.length, -(-longest // 8) * 8)
        rows = [_Row(length, self.padding, self.isolate) for _ in bins]
        images: list[NDArray[np.uint8]] = []
        places: list[tuple[int, int]] = []
        names: list[str] = []
        for number, (row, one) in enumerate(zip(rows, bins, strict=True)):
            for group in one.contents:
                for member, place, start in row.add(group):
                    places.append((number, start))
                    names.append(member.images[place] if place < len(member.images) else "")
                    if self.blind:
                        continue
                    image = show(member, place)
                    if image is None:
                        image = np.zeros((3, self.side, self.side), np.uint8)
                        row.silence()
                    images.append(image)
        empty = np.zeros((0, 3, self.side, self.side), np.uint8)
        return Batch(
            input_ids=_stacked([row.ids for row in rows]),
            targets=_stacked([row.targets for row in rows]),
            positions=_stacked([row.positions for row in rows]),
            groups=_stacked([row.groups for row in rows]),
            parts=_stacked([row.parts for row in rows]),
            pixels=torch.from_numpy(np.stack(images) if images else empty),
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
        """Writes a group; returns member, number and first token of each image that stands in the row."""
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
        following = ids[start + 1 : stop + 1]
        taught = np.array(one.loss[start + 1 : stop + 1], np.bool_)
        self.targets[self._at : self._at + len(following)] = np.where(taught, following, IGNORE)
        self.groups[here] = self._group
        self.parts[here] = part
        if self._isolate:
            self.positions[here] = np.arange(start, stop)
        else:
            self.positions[here] = np.arange(here.start, here.stop)
        self._at = here.stop

    def silence(self) -> None:
        """Takes the loss off the group written last: its image cannot be seen."""
        self.targets[self._first : self._at] = IGNORE


def _before(member: Member, stop: int) -> list[int]:
    return [at for at in member.encoded.places if at < stop]


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """A batch as one tensor of bytes: each block that is shared costs a file, two mappings and a message."""

    block: Tensor
    shapes: _Shapes
    plain: bool
    keys: tuple[tuple[str, ...], ...]
    tasks: tuple[str, ...]
    names: tuple[str, ...]


def to_shared(batch: Batch) -> SharedBatch:
    """Copies a batch into one block of shared memory."""
    tensors = [getattr(batch, name) for name in _TENSORS]
    shapes = tuple((one.dtype, tuple(one.shape)) for one in tensors)
    starts, size = _starts(shapes)
    # allocated shared, so that sending it copies nothing
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    block = torch.empty(0, dtype=torch.uint8).set_(storage)
    for one, start in zip(tensors, starts, strict=True):
        flat = one.contiguous().view(-1).view(torch.uint8)
        block[start : start + len(flat)] = flat
    return SharedBatch(block, shapes, batch.plain, batch.keys, batch.tasks, batch.names)


def from_shared(shared: SharedBatch) -> Batch:
    """Returns the batch whose tensors lie in the shared memory."""
    starts, _ = _starts(shared.shapes)
    tensors = {}
    for name, start, (kind, shape) in zip(_TENSORS, starts, shared.shapes, strict=True):
        size = kind.itemsize * torch.Size(shape).numel()
        tensors[name] = shared.block[start : start + size].view(kind).view(shape)
    return Batch(**tensors, plain=shared.plain, keys=shared.keys, tasks=shared.tasks, names=shared.names)


def _starts(shapes: _Shapes) -> tuple[list[int], int]:
    """Returns where each tensor starts in the block, and the block's size."""
    starts, at = [], 0
    for kind, shape in shapes:
        starts.append(at)
        at += -(-kind.itemsize * torch.Size(shape).numel() // _ALIGNED) * _ALIGNED
    return starts, max(at, 1)
