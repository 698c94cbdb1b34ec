"""Muon: steps of equal size in all directions of a matrix (arXiv 2502.16982).

torch.optim.Muon works in bf16 whatever it is given, and on one matrix after the other. A processor that does not
multiply in bf16 itself takes several times as long for that as for all the rest of a step of a small model. Here a
device computes in what it is fast in, and matrices of one shape go together.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

MOMENTUM: Final = 0.95

# Newton-Schulz: the published quintic, that takes small singular values to about 1 in few steps (0.7 to 1.2)
_QUINTIC: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5


@torch.no_grad()
def orthogonal(matrices: Tensor) -> Tensor:
    """(K, M, N): each matrix with its singular values, but for noise, all near 1: 0.7 to 1.2."""
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
