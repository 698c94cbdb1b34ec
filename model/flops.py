"""How much arithmetic a step asks for, and how much the device can do."""

import time
from functools import cache
from typing import Final

import torch

from model.batch import Batch
from model.config import ModelConfig
from model.stages import StageConfig

# multiples of the forward pass: with weight gradients, with gradients passed through, forward alone
_TRAINED: Final = 3.0
_PASSED: Final = 2.0
_FORWARD: Final = 1.0


def vision_forward(config: ModelConfig, side: int) -> float:
    """Returns floating-point operations to encode one image."""
    vision = config.vision
    patches = (side // vision.patch) ** 2
    layer = patches * (4 * vision.width**2 + 2 * vision.width * vision.mlp) + 2 * patches**2 * vision.width
    return 2.0 * (vision.layers * layer + patches * 3 * vision.patch**2 * vision.width)


def adapter_forward(config: ModelConfig, side: int) -> float:
    """Returns floating-point operations to adapt one image."""
    patches, queries = (side // config.vision.patch) ** 2, config.adapter.queries
    hidden, width = config.language.hidden, config.vision.width
    linear = patches * width * hidden + 2 * patches * hidden**2 + 3 * queries * hidden**2
    return 2.0 * (linear + 2 * queries * patches * hidden)


def language_forward(config: ModelConfig, tokens: int) -> float:
    """Returns floating-point operations of the decoder's linear layers on `tokens`, without its head."""
    language = config.language
    return 2.0 * language.layers * tokens * (4 * language.hidden**2 + 3 * language.hidden * language.mlp)


def language_attention(config: ModelConfig, tokens: int, length: int) -> float:
    """Returns those of its attention in sequences of `length`: causal, it looks at half of the sequence on average."""
    return 2.0 * config.language.layers * tokens * length * config.language.hidden


def batch_flops(config: ModelConfig, stage: StageConfig, batch: Batch) -> float:
    """Returns floating-point operations of a training step on `batch`; padding counts for nothing.

    Recomputed activations are no progress and not counted.
    """
    images = len(batch.pixels)
    vision = vision_forward(config, stage.side) * images
    adapter = adapter_forward(config, stage.side) * images
    linear = language_forward(config, batch.tokens)
    linear += 2.0 * batch.supervised * config.language.hidden * config.language.vocab
    attention = language_attention(config, batch.tokens, batch.input_ids.shape[1])
    trains = stage.trains
    seen = "vision" in trains or "adapter" in trains
    return (
        vision * (_TRAINED if "vision" in trains else _FORWARD)
        + adapter * (_TRAINED if "adapter" in trains else _PASSED if "vision" in trains else _FORWARD)
        + linear * (_TRAINED if "language" in trains else _PASSED if seen else _FORWARD)
        # attention has no weights: its gradient costs the same whoever learns
        + attention * (_TRAINED if "language" in trains or seen else _FORWARD)
    )


def matmul_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """Returns the floating-point operations a second that a dense matrix product reaches here, the best of several.

    Measured once a process, for as many threads as torch has.
    """
    return _measured_rate(device, dtype, seconds, torch.get_num_threads())


@cache
def _measured_rate(device: torch.device, dtype: torch.dtype, seconds: float, threads: int) -> float:
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = 0.0
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        synchronise(device)
        start = time.perf_counter()
        for _ in range(4):
            a @ a
        synchronise(device)
        best = max(best, 4 * 2.0 * size**3 / (time.perf_counter() - start))
    return best


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
