"""How an image becomes tokens: OpenCLIP's ViT without class token, final norm or projection, then the adapter.

The adapter is one cross-attention layer that makes any number of patches a fixed number of tokens.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from model.config import AdapterConfig, VisionConfig


class Attention(nn.Module):
    """Multi-head attention; `in_proj` holds query, key and value weights one below the other, each (D, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the self-attention of x, (B, N, D)."""
        query, key, value = self.in_proj(x).chunk(3, dim=-1)
        return self._attend(query, key, value)

    def across(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Returns (B, Q, D) from queries (B, Q, D), keys and values (B, N, D)."""
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
    """Turns autocast off on a CPU, where the backward pass of attention in bf16 is many times slower."""
    if _halved(like):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def exact(part: Tensor) -> Tensor:
    """Returns the part in float32 where `full_precision` holds, else as it is."""
    return part.float() if part.device.type == "cpu" and part.dtype == torch.bfloat16 else part


def _halved(like: Tensor) -> bool:
    return like.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def _heads(x: Tensor, heads: int) -> Tensor:
    """Returns (B, N, D) as (B, H, N, D/H)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def resample(table: Tensor, side: int) -> Tensor:
    """Returns a position table (S*S, D) as (side*side, D), bicubically; in float32, and the same where S = side."""
    source = round(table.shape[0] ** 0.5)
    if source == side:
        return table
    grid = table.float().reshape(1, source, source, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).reshape(side * side, -1).to(table.dtype)


def grid_positions(width: int, side: int) -> Tensor:
    """Returns sine-cosine positions of a side x side grid, (side*side, width), rows first.

    The first half of the width tells the column, the second the row; each is sines, then cosines, of
    frequencies 10000^(-i / (width / 4)) (arXiv 2111.06377, as the published weights expect it).
    """
    frequencies = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    columns = line[None].expand(side, side, -1)
    rows = line[:, None].expand(side, side, -1)
    return torch.cat([columns, rows], dim=-1).reshape(side * side, width).float()


class Block(nn.Module):
    """One layer: attention and MLP, each normed before and added."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, eps=config.eps)
        self.attn = Attention(config.width, config.heads)
        self.ln_2 = nn.LayerNorm(config.width, eps=config.eps)
        self.c_fc = nn.Linear(config.width, config.mlp)
        self.c_proj = nn.Linear(config.mlp, config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.c_proj(functional.gelu(self.c_fc(self.ln_2(x))))
        return out


class VisionTransformer(nn.Module):
    """Images (P, 3, S, S), normalised, to patches (P, (S / patch)², width)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, config.width, config.patch, config.patch, bias=False)
        self.positions = nn.Parameter(torch.randn(config.grid**2, config.width) * config.width**-0.5)
        self.ln_pre = nn.LayerNorm(config.width, eps=config.eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.checkpointing = False

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv1(pixels)  # (P, W, G, G)
        side = patches.shape[-1]
        x = patches.flatten(2).transpose(1, 2)  # (P, G*G, W)
        x = self.ln_pre(x + resample(self.positions, side).to(x.dtype))
        for block in self.blocks:
            again = self.checkpointing and self.training
            x = checkpoint(block, x, use_reentrant=False) if again else block(x)
        out: Tensor = x
        return out


class Adapter(nn.Module):
    """Patches (P, N, vision width) to tokens (P, queries, hidden), in the language model's space.

    Fixed 2-D sine-cosine positions are added to queries and keys, never to values, so that where a patch
    lay survives the compression (arXiv 2308.12966, 2.1). They are no parameters and are not saved.
    """

    positions: Tensor

    def __init__(self, config: AdapterConfig, width: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(config.queries, hidden))
        self.kv_proj = nn.Linear(width, hidden, bias=False)
        self.ln_q = nn.LayerNorm(hidden, eps=config.eps)
        self.ln_kv = nn.LayerNorm(hidden, eps=config.eps)
        self.attn = Attention(hidden, config.heads)
        self.ln_post = nn.LayerNorm(hidden, eps=config.eps)
        self.proj = nn.Linear(hidden, hidden, bias=False)
        side = math.isqrt(config.queries)
        self.register_buffer("positions", grid_positions(hidden, side), persistent=False)
        self._reset()

    def _reset(self) -> None:
        nn.init.trunc_normal_(self.query, std=0.02)
        for linear in (self.kv_proj, self.attn.in_proj, self.attn.out_proj):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        nn.init.normal_(self.proj.weight, std=self.proj.in_features**-0.5)

    def forward(self, patches: Tensor) -> Tensor:
        values = self.ln_kv(self.kv_proj(patches))  # (P, N, D)
        side = math.isqrt(patches.shape[1])
        positions = self.positions.to(values.dtype)
        keys = values + resample(self.positions, side).to(values.dtype)
        queries = self.ln_q(self.query).to(values.dtype) + positions
        pooled = self.attn.across(queries.expand(len(values), -1, -1), keys, values)
        out: Tensor = self.proj(self.ln_post(pooled))
        return out
