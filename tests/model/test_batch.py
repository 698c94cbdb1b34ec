"""Batches from process to process."""

import pytest
import torch

from model.batch import Batch, from_shared, to_shared


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_round_trip(pictures: int) -> None:
    """A batch comes out of its shared as it went in, with images and without, and in shared memory."""
    random = torch.Generator().manual_seed(pictures)

    def numbers(kind: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.randint(0, 99, shape, generator=random, dtype=kind)

    batch = Batch(
        input_ids=numbers(torch.int64, 2, 7),
        targets=numbers(torch.int64, 2, 7),
        positions=numbers(torch.int64, 2, 7),
        groups=numbers(torch.int32, 2, 7),
        parts=numbers(torch.int32, 2, 7),
        pixels=numbers(torch.uint8, pictures, 3, 5, 5),
        places=numbers(torch.int64, pictures, 2),
        plain=False,
        keys=(("a", "b"), ("c",)),
        tasks=("vqa", "text"),
        names=("x", "y", "z")[:pictures],
    )
    shared = to_shared(batch)
    assert shared.block.untyped_storage().is_shared()
    found = from_shared(shared)
    assert (found.plain, found.keys, found.tasks) == (batch.plain, batch.keys, batch.tasks)
    assert found.names == batch.names
    for name in ("input_ids", "targets", "positions", "groups", "parts", "pixels", "places"):
        mine, other = getattr(found, name), getattr(batch, name)
        assert mine.dtype == other.dtype
        assert torch.equal(mine, other)
