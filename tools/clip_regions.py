"""What each patch of a scene shows, to teach the image tower where things are.

A CLIP learns from whole pictures and whole captions which words belong together with which pictures; which
part of a picture a word belongs to it is never told, and plain shapes are learnt slowly. Regions are therefore
aligned with phrases as well, patch by patch (as RegionCLIP does, arXiv 2112.09106).
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from synth.scenes import COLOURS, SHAPES, Object, Scene
from synth.words import LANGUAGES, Noun
from tools.clip_pairs import Item

KINDS: Final = tuple((shape, colour) for shape in SHAPES for colour in COLOURS)
"""What a patch may show, in the order of `labels` and `phrases`."""

NOTHING: Final = len(KINDS)
"""The label of a patch that no object reaches."""

UNSURE: Final = -1
"""The label of a patch that is not judged: an object's edge, or a photograph."""

_ROW: Final = {kind: number for number, kind in enumerate(KINDS)}
_INSIDE: Final = 0.5


def phrases(language: str) -> list[str]:
    """The bare phrase of each kind: `red circle`."""
    noun = LANGUAGES[language].noun
    return [noun(Noun(shape, colour, 0, None)) for shape, colour in KINDS]


def _along(centre: float, side: float, length: float, grid: int) -> NDArray[np.float64]:
    """The share of each of `grid` equal parts of `length` that lies within `side` about `centre`."""
    edges = np.linspace(0.0, length, grid + 1)
    low, high = centre - side / 2, centre + side / 2
    shared = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return np.asarray(np.maximum(shared, 0.0) * grid / length, np.float64)


def coverage(item: Object, scene: Scene, grid: int) -> NDArray[np.float64]:
    """(grid, grid), rows first: the share of each patch of the squashed scene within the object's square."""
    columns = _along(item.x, item.side, scene.width, grid)
    rows = _along(item.y, item.side, scene.height, grid)
    return rows[:, None] * columns[None, :]


def labels(items: list[Item], grid: int) -> NDArray[np.int64]:
    """(N, grid * grid): the row of KINDS that each patch shows, NOTHING or UNSURE.

    An object that fills no patch by half is shown by the patch that it covers most.
    """
    found = np.full((len(items), grid * grid), UNSURE, np.int64)
    for row, item in zip(found, items, strict=True):
        if not isinstance(item.shown, Scene):
            continue
        covered = np.stack([coverage(one, item.shown, grid).ravel() for one in item.shown.objects])
        row[covered.max(0) < 0.02] = NOTHING
        for one, share in zip(item.shown.objects, covered, strict=True):
            row[share >= min(_INSIDE, share.max())] = _ROW[one.shape, one.colour]
    return found


def loss_of(
    patches: torch.Tensor,
    texts: torch.Tensor,
    truth: torch.Tensor,
    scale: torch.Tensor,
    nothing: torch.Tensor,
) -> torch.Tensor:
    """Cross-entropy of each judged patch over all phrases and nothing; patches (N, P, D), texts (K, D), unit vectors.

    Patches without an object are many and easy: together they count as much as those with one.
    """
    logits = scale.exp() * patches @ texts.T  # (N, P, K)
    logits = torch.cat([logits, nothing.expand(*logits.shape[:2], 1)], dim=2).flatten(0, 1)
    flat = truth.flatten()
    each = functional.cross_entropy(logits, flat, ignore_index=UNSURE, reduction="none")
    empty, shown = flat == NOTHING, (flat != NOTHING) & (flat != UNSURE)
    return each[shown].sum() / shown.sum().clamp(min=1) + each[empty].sum() / empty.sum().clamp(min=1)
