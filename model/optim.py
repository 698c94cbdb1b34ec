"""The optimiser: AdamW with rates that fall from the vision encoder's last layer to its first."""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from model.qwen_vl import PARTS, QwenVL
from model.stages import StageConfig


def rate_scale(name: str, layers: int, decay: float) -> float:
    """What parameter `name`'s learning rate is multiplied by: decay^(layers above it) in vision, else 1."""
    if not name.startswith("vision."):
        return 1.0
    parts = name.split(".")
    above = layers - 1 - int(parts[2]) if parts[1] == "blocks" else layers
    return float(decay**above)


def optimizer(model: QwenVL, stage: StageConfig, fused: bool = False) -> torch.optim.AdamW:
    """AdamW over what learns; norms and biases do not decay. Each group has its `scale` of the rate."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = rate_scale(name, model.config.vision.layers, stage.layer_decay)
            groups[scale, parameter.ndim > 1].append(parameter)
    listed: list[dict[str, Any]] = [
        {"params": found, "scale": scale, "weight_decay": stage.weight_decay if decays else 0.0}
        for (scale, decays), found in groups.items()
    ]
    return torch.optim.AdamW(listed, lr=stage.rate, betas=stage.betas, eps=stage.eps, fused=fused)


def rate(stage: StageConfig, step: int) -> float:
    """The learning rate of step `step` (from 0): linear warm-up, then a cosine to the floor."""
    if step < stage.warmup:
        return stage.rate * (step + 1) / stage.warmup
    span = max(stage.steps - stage.warmup - 1, 1)
    done = min((step - stage.warmup) / span, 1.0)
    return stage.floor + (stage.rate - stage.floor) * (1 + math.cos(math.pi * done)) / 2


def set_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    """Gives each group its share of the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = value * group["scale"]


def clip_gradients(model: QwenVL, limit: float) -> dict[str, float]:
    """Scales all gradients so that their norm is at most `limit`; gives the norms before, by part and total."""
    norms: dict[str, Tensor] = {}
    grads: list[Tensor] = []
    for part in PARTS:
        own = [p.grad for p in getattr(model, part).parameters() if p.grad is not None]
        if own:
            norm = torch.nn.utils.get_total_norm(own)
            norms[part] = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            grads += own
    if not grads:
        return {"total": 0.0}
    total = torch.stack(list(norms.values())).square().sum().sqrt()
    factor = (limit / (total + 1e-6)).clamp(max=1.0)
    for grad in grads:
        # a scalar of plain type scales a sharded gradient too
        (grad.to_local() if hasattr(grad, "to_local") else grad).mul_(factor)
    return {name: float(norm) for name, norm in norms.items()} | {"total": float(total)}
