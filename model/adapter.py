"""The adapter: one cross-attention layer that makes any number of patches a fixed number of tokens."""

import math

import torch
from torch import Tensor, nn

from model.attention import Attention, grid_positions, resample
from model.config import AdapterConfig


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
