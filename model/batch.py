"""One step's input, as the loader hands it to the model."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

IGNORE = -100
"""The target of a token that carries no loss."""
PADDING = -1
"""The group of a token that fills a sequence up."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B packed sequences of T tokens with P pictures.

    `targets[b, t]` is the token to be told at t, already shifted. Samples of one picture share a `group`;
    its `part` 0 is what they have in common and k its k-th sample. `places[p]` is the row and the first
    token of picture p's span, `names[p]` its SHA-256; there are no `pixels` where pictures are not shown.
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
        """The same batch on `device`."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("input_ids", "targets", "positions", "groups", "parts", "pixels", "places")
        }
        return replace(self, **moved)

    @property
    def supervised(self) -> int:
        """How many tokens carry loss."""
        return int((self.targets != IGNORE).sum())

    @property
    def tokens(self) -> int:
        """How many tokens are no padding."""
        return int((self.groups != PADDING).sum())


def attention_mask(groups: Tensor, parts: Tensor) -> Tensor:
    """(B, 1, T, T), true where row t may look at column s: not later, same group, shared or same part."""
    length = groups.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=groups.device).tril()
    group = groups[:, :, None] == groups[:, None, :]
    part = (parts[:, None, :] == 0) | (parts[:, :, None] == parts[:, None, :])
    return (causal & group & part)[:, None]
