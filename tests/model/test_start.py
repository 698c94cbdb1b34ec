"""The adapter's first weights beside the encoder of a CLIP."""

import torch

from model import start
from model.config import preset
from model.qwen_vl import QwenVL, build


def _model() -> QwenVL:
    model = build(preset("tiny"), 0).eval()
    projection = torch.randn(128, 128, generator=torch.Generator().manual_seed(1)) / 128**0.5
    start.align(model.adapter, projection)
    return model


def _pixels(count: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(2)
    # blocks rather than grain, so that patches differ from picture to picture
    coarse = torch.randint(0, 256, (count, 3, 6, 6), generator=random, dtype=torch.uint8)
    return coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)


def test_each_query_looks_about_its_own_place() -> None:
    """Another patch in one corner changes the token of that corner most, and the far corner's hardly."""
    model = _model()
    patches = torch.randn(1, 144, 128, generator=torch.Generator().manual_seed(3))
    changed = patches.clone()
    corner = [row * 12 + column for row in range(3) for column in range(3)]
    changed[:, corner] += 3 * torch.randn(1, 9, 128, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        moved = (model.adapter(patches) - model.adapter(changed)).norm(dim=-1)[0]
    assert moved.argmax() == 0
    assert moved[15] < 0.25 * moved[0]


def test_centred_tokens_stand_about_the_empty_place_and_tell_pictures_apart() -> None:
    """Over the pictures taken, the mean token is that of no picture; before, what is common outweighs the rest."""
    model, pixels = _model(), _pixels(60)
    nothing = torch.randn(160, generator=torch.Generator().manual_seed(5)) * 0.02
    with torch.inference_mode():
        before = model.see(pixels)
    start.centre(model, pixels, nothing)
    with torch.inference_mode():
        after = model.see(pixels)
    assert torch.allclose(after.mean((0, 1)), nothing, atol=1e-3)

    def common(tokens: torch.Tensor) -> float:
        return float(tokens.mean((0, 1)).square().sum() / tokens.square().sum(-1).mean())

    assert common(after) < 0.2 * common(before)
