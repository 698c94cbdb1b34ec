"""Image-text matching: of four images, the one with which the model finds a caption likeliest."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.batch import Collator
from model.encode import Encoded
from model.packing import Bin, Group, Member
from model.qwen_vl import QwenVL

OTHERS: Final = 3
"""Images beside a caption's own."""


@torch.inference_mode()
def matches(
    model: QwenVL,
    captions: Sequence[Encoded],
    images: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    padding: int,
    batch: int = 32,
) -> list[bool]:
    """Returns for each caption whether its own image makes it likelier than each of three others does.

    The caption's words are the same with every image, so nothing is gained by knowing likely words: a
    model that does not look is right one time in four. `names` identify equal images.
    """
    shown = [
        (at, other)
        for at in range(len(captions))
        for other in (at, *_others(at, names))
        if captions[at].places
    ]
    device = next(model.parameters()).device
    # alike lengths together: little padding
    order = sorted(range(len(shown)), key=lambda one: len(captions[shown[one][0]]))
    loss = np.zeros(len(shown))
    collator = Collator(model.config.language.context, images[0].shape[-1] if len(images) else 1, padding)
    for start in range(0, len(order), batch):
        some = order[start : start + batch]
        bins = [_alone(captions[shown[one][0]]) for one in some]
        seen = iter([images[shown[one][1]] for one in some])
        found = model(collator.batch(bins, lambda member, place, seen=seen: next(seen), False).to(device))  # type: ignore[misc]
        loss[some] = found.sums.float().cpu().numpy()
    own: dict[int, list[float]] = {}
    for (at, _), value in zip(shown, loss, strict=True):
        own.setdefault(at, []).append(float(value))
    return [values[0] < min(values[1:]) for values in own.values() if len(values) > 1]


def _others(at: int, names: Sequence[str]) -> list[int]:
    """Returns other images, spread over the set, the same each time."""
    count = len(names)
    found: list[int] = []
    for step in range(count):
        other = (at + count // 2 + step * 7) % count
        if names[other] not in {names[at], *(names[one] for one in found)}:
            found.append(other)
        if len(found) == OTHERS:
            break
    return found


def _alone(caption: Encoded) -> Bin[Group]:
    return Bin([Group([Member(caption)])], len(caption))


Figures = dict[str, Any]


def matching_figure(right: Sequence[bool]) -> Figures:
    """Returns the share of right choices, as evaluations give figures."""
    return {"value": sum(right) / len(right), "chance": 1 / (1 + OTHERS), "n": len(right)}
