"""Greedy answers, several at once, by transformers' generation with its key-value cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.qwen_vl import QwenVL


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, and the images, (3, S, S) uint8, whose spans start at `places`."""

    ids: tuple[int, ...]
    places: tuple[int, ...] = ()
    images: tuple[NDArray[np.uint8], ...] = ()


@torch.inference_mode()
def generate(
    model: QwenVL, prompts: Sequence[Prompt], limit: int, stops: Sequence[int], end: int
) -> list[list[int]]:
    """Returns for each prompt the likeliest ids one by one, up to a stop (left out) or `limit`.

    Prompts are padded on the left with `end`; padding changes no answer. A prompt and its answer together
    stay within the model's context.
    """
    if not prompts:
        return []
    embedded, there = _embedded(model, prompts, end, next(model.parameters()).device)
    limit = min(limit, model.config.language.context - embedded.shape[1])
    if limit < 1:
        return [[] for _ in prompts]
    language: Any = model.language
    answers = language.generate(
        inputs_embeds=embedded,
        attention_mask=there.long(),
        max_new_tokens=limit,
        do_sample=False,
        use_cache=True,
        eos_token_id=list(stops) or None,
        pad_token_id=end,
    ).tolist()
    return [list(takewhile(lambda number: number not in stops, answer)) for answer in answers]


def _embedded(
    model: QwenVL, prompts: Sequence[Prompt], end: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns (B, T, hidden) of the prompts, and (B, T) whether a token is one."""
    longest = max(len(one.ids) for one in prompts)
    ids = torch.full((len(prompts), longest), end)
    there = torch.zeros(len(prompts), longest, dtype=torch.bool)
    places, images = [], []
    for row, prompt in enumerate(prompts):
        gap = longest - len(prompt.ids)
        ids[row, gap:] = torch.tensor(prompt.ids)
        there[row, gap:] = True
        places += [(row, gap + place) for place in prompt.places]
        images += list(prompt.images)
    side = images[0].shape[-1] if images else 1
    pixels = torch.from_numpy(np.stack(images)) if images else torch.zeros(0, 3, side, side)
    where = torch.tensor(places, dtype=torch.int64).reshape(-1, 2)
    return model.embed(ids.to(device), pixels.to(device), where.to(device)), there.to(device)
