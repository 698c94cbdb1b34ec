"""The optimisers: AdamW with rates that fall from the vision encoder's last layer to its first, and Muon."""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from model.muon import Muon
from model.qwen_vl import PARTS, QwenVL
from model.stages import StageConfig

# two dimensions, but rows that are looked up or learnt one by one: no map from a space to another
_OUTER: Final = re.compile(r"positions$|query$|embed_tokens|lm_head")


def rate_scale(name: str, layers: int, decay: float) -> float:
    """What parameter `name`'s learning rate is multiplied by: decay^(layers above it) in vision, else 1."""
    if not name.startswith("vision."):
        return 1.0
    parts = name.split(".")
    above = layers - 1 - int(parts[2]) if parts[1] == "blocks" else layers
    return float(decay**above)


class Optimisers:
    """What moves the parameters that learn: AdamW, and where the stage says so Muon for the inner matrices."""

    def __init__(self, members: Sequence[torch.optim.Optimizer]) -> None:
        self.members = tuple(members)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all members; each has its `scale` of the stage's rate."""
        return [group for member in self.members for group in member.param_groups]

    def set_rate(self, value: float) -> None:
        """Gives each group its share of the learning rate."""
        for group in self.param_groups:
            group["lr"] = value * group["scale"]

    def step(self) -> None:
        """Moves the parameters along their gradients."""
        for member in self.members:
            member.step()

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for member in self.members:
            member.zero_grad(set_to_none=True)


def optimisers(model: QwenVL, stage: StageConfig, fused: bool = False) -> Optimisers:
    """The optimisers over what learns; norms and biases do not decay.

    With `stage.muon` the inner matrices take steps of equal size in all directions (Muon, arXiv 2502.16982: its
    rates are of AdamW's size); embeddings, head, positions and queries, and all that is no matrix, take AdamW's.
    """
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = rate_scale(name, model.config.vision.layers, stage.layer_decay)
            inner = stage.muon > 0 and parameter.ndim == 2 and not _OUTER.search(name)
            groups[scale, parameter.ndim > 1, inner].append(parameter)
    plain: list[dict[str, Any]] = []
    matrices: list[dict[str, Any]] = []
    for (scale, decays, inner), found in groups.items():
        group = {"params": found, "weight_decay": stage.weight_decay if decays else 0.0}
        if inner:
            matrices.append({**group, "scale": scale * stage.muon / stage.rate})
        else:
            plain.append({**group, "scale": scale})
    members: list[torch.optim.Optimizer] = []
    if plain:
        members.append(torch.optim.AdamW(plain, lr=stage.rate, betas=stage.betas, eps=stage.eps, fused=fused))
    if matrices:
        members.append(Muon(matrices, lr=stage.muon))
    return Optimisers(members)


def rate(stage: StageConfig, step: int) -> float:
    """The learning rate of step `step` (from 0): linear warm-up, then a cosine to the floor."""
    if step < stage.warmup:
        return stage.rate * (step + 1) / stage.warmup
    span = max(stage.steps - stage.warmup - 1, 1)
    done = min((step - stage.warmup) / span, 1.0)
    return stage.floor + (stage.rate - stage.floor) * (1 + math.cos(math.pi * done)) / 2


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
