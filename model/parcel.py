"""A batch on its way from one process to another: one block of shared memory, and what lies where in it."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from model.batch import Batch

_TENSORS: Final = ("pixels", "input_ids", "targets", "positions", "places", "groups", "parts")
_ALIGNED: Final = 64

_Shapes = tuple[tuple[torch.dtype, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A batch as one tensor of bytes: each block that is shared costs a file, two mappings and a message."""

    block: Tensor
    shapes: _Shapes
    plain: bool
    keys: tuple[tuple[str, ...], ...]
    tasks: tuple[str, ...]
    names: tuple[str, ...]


def wrapped(batch: Batch) -> Parcel:
    """The parcel of a batch, in shared memory."""
    tensors = [getattr(batch, name) for name in _TENSORS]
    shapes = tuple((one.dtype, tuple(one.shape)) for one in tensors)
    starts, size = _starts(shapes)
    # allocated shared, so that sending it copies nothing
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    block = torch.empty(0, dtype=torch.uint8).set_(storage)
    for one, start in zip(tensors, starts, strict=True):
        flat = one.contiguous().view(-1).view(torch.uint8)
        block[start : start + len(flat)] = flat
    return Parcel(block, shapes, batch.plain, batch.keys, batch.tasks, batch.names)


def opened(parcel: Parcel) -> Batch:
    """The batch in a parcel; its tensors lie in the parcel's memory."""
    starts, _ = _starts(parcel.shapes)
    tensors = {}
    for name, start, (kind, shape) in zip(_TENSORS, starts, parcel.shapes, strict=True):
        size = kind.itemsize * torch.Size(shape).numel()
        tensors[name] = parcel.block[start : start + size].view(kind).view(shape)
    return Batch(**tensors, plain=parcel.plain, keys=parcel.keys, tasks=parcel.tasks, names=parcel.names)


def _starts(shapes: _Shapes) -> tuple[list[int], int]:
    """Where each tensor starts in the block, and the block's size."""
    starts, at = [], 0
    for kind, shape in shapes:
        starts.append(at)
        at += -(-kind.itemsize * torch.Size(shape).numel() // _ALIGNED) * _ALIGNED
    return starts, max(at, 1)
