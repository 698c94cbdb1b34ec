"""The vision encoder: OpenCLIP's ViT without class token, without a final norm or projection."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from model.attention import Attention, resample
from model.config import VisionConfig


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
    """Pictures (P, 3, S, S), normalised, to patches (P, (S / patch)², width)."""

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
