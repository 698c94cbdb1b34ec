"""Arithmetic counted."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model import flops
from model.config import preset
from model.loader import Loader
from model.qwen_vl import build
from model.stages import set_trained, stage_config
from tests.model.corpora import TINY, corpus, preset_file, tokenizer
from tests.model.test_loader import feed

# the counter knows the plain kernel's products, not the CPU's fused attention
COUNTABLE = partial(sdpa_kernel, SDPBackend.MATH)


def test_vision_and_adapter() -> None:
    """What one image asks for is what PyTorch's own counter sees."""
    config = preset("tiny")
    model = build(config).eval()
    pixels = torch.zeros(1, 3, 64, 64)
    with torch.no_grad(), COUNTABLE(), FlopCounterMode(display=False) as counted:
        patches = model.vision(pixels)
    assert flops.vision_forward(config, 64) == pytest.approx(counted.get_total_flops(), rel=0.02)
    with torch.no_grad(), COUNTABLE(), FlopCounterMode(display=False) as counted:
        model.adapter(patches)
    assert flops.adapter_forward(config, 64) == pytest.approx(counted.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("name", ["1", "2", "3"])
def test_step(tmp_path: Path, name: str) -> None:
    """A step's count is PyTorch's but for padding, the unused half of attention, and gradients of inputs."""
    corpus(tmp_path, {"caption": 24})
    stage = stage_config(preset_file(tmp_path), name, {"side": 16})
    model = build(TINY).train()
    set_trained(model, stage.trains)
    batch = next(iter(Loader(feed(tmp_path), tokenizer())))
    with COUNTABLE(), FlopCounterMode(display=False) as counted:
        model(batch).mean.backward()
    own = flops.batch_flops(TINY, stage, batch)
    assert 0.5 < own / counted.get_total_flops() < 1.2


def test_matmul_rate() -> None:
    """The device does some arithmetic."""
    assert flops.matmul_rate(torch.device("cpu"), torch.float32, 0.05) > 1e7
