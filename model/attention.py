"""Multi-head attention with one fused projection, by PyTorch's scaled dot product kernels."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention; `in_proj` holds query, key and value weights one below the other, each (D, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Self-attention of x, (B, N, D)."""
        query, key, value = self.in_proj(x).chunk(3, dim=-1)
        return self._attend(query, key, value)

    def across(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, Q, D) from queries (B, Q, D), keys and values (B, N, D)."""
        weights = self.in_proj.weight.chunk(3)
        biases = self.in_proj.bias.chunk(3)
        projected = [
            functional.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
        ]
        return self._attend(*projected)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (_heads(one, self.heads) for one in (query, key, value))
        with full_precision(q):
            # (B, H, N, D/H)
            mixed = functional.scaled_dot_product_attention(exact(q), exact(k), exact(v))
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Where attention on a CPU does not heed autocast: its backward pass in bf16 is many times slower there."""
    if _halved(like):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def exact(part: Tensor) -> Tensor:
    """The part in float32 where `full_precision` holds, else as it is."""
    return part.float() if part.device.type == "cpu" and part.dtype == torch.bfloat16 else part


def _halved(like: Tensor) -> bool:
    return like.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, D) as (B, H, N, D/H)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def resample(table: Tensor, side: int) -> Tensor:
    """A position table (S*S, D) as (side*side, D), bicubically; in float32, and the same where S = side."""
    source = round(table.shape[0] ** 0.5)
    if source == side:
        return table
    grid = table.float().reshape(1, source, source, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).reshape(side * side, -1).to(table.dtype)


def grid_positions(width: int, side: int) -> Tensor:
    """Sine-cosine positions of a side x side grid, (side*side, width), rows first.

    The first half of the width tells the column, the second the row; each is sines, then cosines, of
    frequencies 10000^(-i / (width / 4)) (arXiv 2111.06377, as the published weights expect it).
    """
    frequencies = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    columns = line[None].expand(side, side, -1)
    rows = line[:, None].expand(side, side, -1)
    return torch.cat([columns, rows], dim=-1).reshape(side * side, width).float()
