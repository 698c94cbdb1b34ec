"""Muon: steps of equal size in all directions."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.optim import Muon, orthogonal

Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_singular_values_are_near_one(rows: int, columns: int, seed: int, size: float) -> None:
    """Whatever the size of the matrix; directions stay what they were."""
    random = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=random))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=random))
    count = min(rows, columns)
    values = size * (0.2 + 0.8 * torch.rand(count, generator=random))
    found = orthogonal((left[:, :count] * values @ right[:, :count].T)[None])[0]
    inner = left[:, :count].T @ found @ right[:, :count]
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-3)
    assert 0.6 < float(inner.diagonal().min()) <= float(inner.diagonal().max()) < 1.3


def _steps(make: Make, shapes: list[tuple[int, int]]) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    matrices = [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]
    optimiser = make(matrices)
    for _ in range(3):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=random)
        optimiser.step()
    return [matrix.detach() for matrix in matrices]


def test_it_is_torch_s_own() -> None:
    """The same steps as torch.optim.Muon's, but for what bf16 loses, matrices of one shape or of several."""
    shapes = [(24, 16), (16, 40), (24, 16), (16, 16)]
    ours = _steps(lambda all_: Muon([{"params": all_}], lr=0.02, weight_decay=0.1), shapes)
    theirs = _steps(
        lambda all_: torch.optim.Muon(all_, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"), shapes
    )
    start = _steps(lambda all_: Muon([{"params": all_}], lr=0.0), shapes)
    for one, other, before in zip(ours, theirs, start, strict=True):
        moved = (one - before).norm()
        assert float(moved) > 0.1
        assert float((one - other).norm() / moved) < 0.1


def test_momentum_is_kept() -> None:
    """A restored optimiser goes on as the first would have; a matrix without gradient stays."""
    random = torch.Generator().manual_seed(5)
    first = [torch.nn.Parameter(torch.randn(8, 6, generator=random)) for _ in range(2)]
    second = copy.deepcopy(first)
    one, other = Muon([{"params": first}], lr=0.1), Muon([{"params": second}], lr=0.1)
    grads = [torch.randn(8, 6, generator=random) for _ in range(2)]
    for grad in grads:
        first[0].grad = grad.clone()
        one.step()
    still = first[1].detach().clone()
    second[0].grad = grads[0].clone()
    other.step()
    again = Muon([{"params": second}], lr=0.1)
    again.load_state_dict(other.state_dict())
    second[0].grad = grads[1].clone()
    again.step()
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], still)
    assert torch.equal(second[1], still)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (7, 7)])
def test_a_gradient_of_zero_moves_nothing(shape: tuple[int, int]) -> None:
    """And makes no number that is none."""
    matrix = torch.nn.Parameter(torch.ones(shape))
    matrix.grad = torch.zeros(shape)
    Muon([{"params": [matrix]}], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(matrix.detach(), torch.ones(shape))
