"""Greedy answers, several at once, with a key-value cache."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

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
    device = next(model.parameters()).device
    embedded, there = _embedded(model, prompts, end, device)
    limit = min(limit, model.config.language.context - embedded.shape[1])
    cache = DynamicCache()
    positions = (there.long().cumsum(1) - 1).clamp(min=0)
    mask = _first_mask(there)
    halt = torch.tensor(list(stops), device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    chosen: list[Tensor] = []
    for _ in range(max(limit, 0)):
        out = model.language.model(
            inputs_embeds=embedded,
            attention_mask={"full_attention": mask},
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        best = model.language.lm_head(out.last_hidden_state[:, -1]).argmax(-1)
        done |= torch.isin(best, halt)
        if bool(done.all()):
            break
        chosen.append(torch.where(done, -1, best))
        embedded = model.language.get_input_embeddings()(best)[:, None]
        positions = positions[:, -1:] + 1
        there = torch.cat([there, torch.ones_like(there[:, :1])], 1)
        mask = there[:, None, None, :]
    answers = torch.stack(chosen, 1).tolist() if chosen else [[] for _ in prompts]
    return [[number for number in answer if number >= 0] for answer in answers]


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


def _first_mask(there: Tensor) -> Tensor:
    length = there.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=there.device).tril()
    # padding looks at itself, as a softmax over nothing is no number
    own = torch.eye(length, dtype=torch.bool, device=there.device)
    return ((causal & there[:, None, :]) | own)[:, None]
