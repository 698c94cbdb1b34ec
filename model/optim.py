"""The optimisers: AdamW with rates that fall from the vision encoder's last layer to its first, and Muon.

Muon takes steps of equal size in all directions of a matrix (arXiv 2502.16982). torch.optim.Muon works in bf16
whatever it is given, and on one matrix after the other. A processor that does not multiply in bf16 itself takes
several times as long for that as for all the rest of a step of a small model. Here a device computes in what it
is fast in, and matrices of one shape go together.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.qwen_vl import PARTS, QwenVL
from model.stages import StageConfig

# two dimensions, but rows that are looked up or learnt one by one: no map from a space to another
_OUTER: Final = re.compile(r"positions$|query$|embed_tokens|lm_head")

MOMENTUM: Final = 0.95

# Newton-Schulz: the published quintic, that takes small singular values to about 1 in few steps (0.7 to 1.2)
_QUINTIC: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5


def rate_scale(name: str, layers: int, decay: float) -> float:
    """Returns the factor of parameter `name`'s learning rate: decay^(layers above it) in vision, else 1."""
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
        """Returns the groups of all members; each has its `scale` of the stage's rate."""
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
        for member in self.members:
            member.zero_grad(set_to_none=True)


def optimisers(model: QwenVL, stage: StageConfig, fused: bool = False) -> Optimisers:
    """Returns the optimisers over what learns; norms and biases do not decay.

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
    """Returns the learning rate of step `step` (from 0): linear warm-up, then a cosine to the floor."""
    if step < stage.warmup:
        return stage.rate * (step + 1) / stage.warmup
    span = max(stage.steps - stage.warmup - 1, 1)
    done = min((step - stage.warmup) / span, 1.0)
    return stage.floor + (stage.rate - stage.floor) * (1 + math.cos(math.pi * done)) / 2


def clip_gradients(model: QwenVL, limit: float) -> dict[str, float]:
    """Scales all gradients to a norm of at most `limit`; returns the norms before, by part and total."""
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


@torch.no_grad()
def orthogonal(matrices: Tensor) -> Tensor:
    """Returns (K, M, N): each matrix with its singular values, but for noise, all near 1: 0.7 to 1.2."""
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
    a, b, c = _QUINTIC
    found = wide / wide.square().sum((-2, -1), keepdim=True).sqrt().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = found @ found.mT
        change = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        found = torch.baddbmm(found, change, found, beta=a)
    return found if matrices.shape[-2] <= matrices.shape[-1] else found.mT


class Muon(torch.optim.Optimizer):
    """Moves matrices, and nothing else; rates and decay are of AdamW's size."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.1) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # the trainer has no closure
        """Moves each matrix that has a gradient by 0.2 sqrt(its longer side) of the rate."""
        for group in self.param_groups:
            alike: dict[Any, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    # a sharded matrix is put together from all ranks: one at a time
                    alike[id(matrix) if isinstance(matrix, DTensor) else matrix.shape].append(matrix)
            for matrices in alike.values():
                self._move(matrices, group["lr"], group["weight_decay"])

    def _move(self, matrices: Sequence[Tensor], lr: float, decay: float) -> None:
        aims: list[Tensor] = []
        for matrix in matrices:
            grad = matrix.grad
            assert grad is not None
            state = self.state[matrix]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(grad)
            state["momentum_buffer"].lerp_(grad, 1 - MOMENTUM)
            aims.append(grad.lerp(state["momentum_buffer"], MOMENTUM))
        fast = torch.bfloat16 if aims[0].is_cuda else aims[0].dtype
        aim = aims[0][None] if len(aims) == 1 else torch.stack(aims)
        found = orthogonal(aim.to(fast)).to(aim.dtype)
        size = 0.2 * max(matrices[0].shape) ** 0.5
        for matrix, step in zip(matrices, found.unbind(), strict=True):
            matrix.mul_(1 - lr * decay)
            matrix.add_(step, alpha=-lr * size)
