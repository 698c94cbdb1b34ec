"""Oracle features: at each of an image's places, the words of what lies there.

A language model with random weights must learn to find, in what is shown, what a question names, and to write where
it lies as a box. It learns that far sooner from clear input. So stages `primer` and `language` give it oracle
features: at a place stand the embeddings of the words of the phrases whose boxes lie there, each weighted by how rare
it is and how much of the place its box covers, and the edges of the box that covers most of it. In stage `sight` the
vision encoder and the adapter then learn to show these features. All it takes are grounded phrases.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from model.sampler import generator
from model.tokenizer import TagTokenizer
from schemas.sample import Example

PLACE: Final = 0.1
"""Scale of the mark of row and column at each place, relative to words (model/initialise.py)."""

WORDS: Final = 2.0
"""Mean scale of the word embeddings."""

EDGE: Final = 0.1
"""Scale of the feature of one edge of a box, relative to words."""

EDGES_COUNT: Final = 6.0
"""Weight of an error in the features of edges, where images are to show oracle features: large words are found
sooner, but small edges would be learnt last."""

STEPS: Final = 10
"""The features of an edge are its nearness to each of the image's tenths: the two next to it share one."""

SAMPLES: Final = 200_000
"""Grounded samples that the oracle reads at most; images beyond them have no features."""

GROUNDED: Final = ("grounding", "referring", "grounded_caption")
"""The tasks whose samples say what lies where in an image."""

Region = tuple[str, tuple[float, float, float, float]]
"""A phrase and one of its boxes, in shares of the image's width and height."""


def regions(samples: Iterable[Example]) -> dict[str, tuple[Region, ...]]:
    """Returns the phrases and boxes of each image by its SHA-256, from the sample with most boxes."""
    found: dict[str, tuple[Region, ...]] = {}
    for sample in samples:
        if len(sample.images) != 1 or sample.task == "ocr":
            continue
        image = sample.images[0]
        here = tuple(
            (one.phrase, (x1 / image.width, y1 / image.height, x2 / image.width, y2 / image.height))
            for one in sample.phrases
            for x1, y1, x2, y2 in one.boxes
        )
        if len(here) > len(found.get(image.sha256, ())):
            found[image.sha256] = here
    return found


def covered(box: tuple[float, float, float, float], side: int) -> Tensor:
    """Returns (side * side,): the share of each place of a side x side grid, rows first, that lies in the box."""
    x1, y1, x2, y2 = (value * side for value in box)
    edges = torch.arange(side, dtype=torch.float32)
    across = (edges.add(1).clamp(max=x2) - edges.clamp(min=x1)).clamp(min=0)
    down = (edges.add(1).clamp(max=y2) - edges.clamp(min=y1)).clamp(min=0)
    return (down[:, None] * across).flatten()


def edges(boxes: Tensor) -> Tensor:
    """Returns (R, 4 * (STEPS + 1)): how near each edge of the boxes, (R, 4), in shares, is to each tenth; linear."""
    apart = boxes[:, :, None] - torch.arange(STEPS + 1) / STEPS
    return (1 - apart.abs() * STEPS).clamp(min=0).flatten(1)


def rarity(phrases: Iterable[Sequence[int]]) -> dict[int, float]:
    """Returns the weight of each token: the logarithm of how rare phrases with it are, 1 on the average.

    What is said of nearly everything ("a", "的") weighs nothing.
    """
    counts: Counter[int] = Counter()
    total = 0
    for phrase in phrases:
        counts.update(set(phrase))
        total += 1
    weights = {token: math.log((total + 1) / count) for token, count in counts.items()}
    mean = sum(weights[token] * count for token, count in counts.items()) / max(counts.total(), 1)
    return {token: value / mean for token, value in weights.items()}


@dataclass(frozen=True, slots=True)
class _Regions:
    """The tokens of an image's words, (K,), and how much of each place they cover, (K, queries); its boxes, (R, 4),
    and for each place which of them covers most of it and the weight of its edges, (queries,) both.
    """

    tokens: Tensor
    shares: Tensor
    boxes: Tensor
    owner: Tensor
    firm: Tensor


class Oracle:
    """Makes the features of images whose regions are known; of others, of the places alone."""

    def __init__(
        self, known: Mapping[str, Sequence[Region]], tokenizer: TagTokenizer, queries: int, hidden: int
    ) -> None:
        self._known, self._tokenizer, self._side = known, tokenizer, isqrt(queries)
        self._words, self._regions = cache(self._encoded), cache(self._laid_out)
        self._weights = rarity(self._words(phrase) for regions in known.values() for phrase, _ in regions)
        random = generator("places")
        lines = torch.from_numpy(random.standard_normal((2, self._side, hidden))).float()
        marks = (lines[0][:, None] + lines[1]) / 2**0.5
        self._marks = PLACE * marks.reshape(queries, hidden)
        self._edges = EDGE * torch.from_numpy(random.standard_normal((4 * (STEPS + 1), hidden))).float()
        self._span = torch.linalg.qr(self._edges.T)[0]

    def __contains__(self, image: str) -> bool:
        return image in self._known

    def features(self, images: Sequence[str], words: Tensor) -> Tensor:
        """Returns (P, queries, hidden), the features of `images`; `words` are all tokens' embeddings."""
        found = (words[self._tokenizer.pad] + self._marks.to(words)).expand(len(images), -1, -1)
        parts = [self._regions(image) for image in images]
        counts = torch.tensor([len(part.tokens) for part in parts], dtype=torch.int64)
        if not int(counts.sum()):
            return found
        at = torch.repeat_interleave(torch.arange(len(parts)), counts).to(words.device)
        tokens = torch.cat([part.tokens for part in parts]).to(words.device)
        shares = torch.cat([part.shares for part in parts]).to(words)
        return found.index_add(0, at, shares[:, :, None] * words[tokens][:, None]) + self._bounds(
            parts, words
        )

    def apart(self, difference: Tensor) -> Tensor:
        """Returns (...) of (..., hidden): the mean square of a difference between features; edges count more."""
        along = difference @ self._span.to(difference)
        total: Tensor = difference.square().sum(-1) + (EDGES_COUNT - 1) * along.square().sum(-1)
        return total / difference.shape[-1]

    def _bounds(self, parts: Sequence[_Regions], words: Tensor) -> Tensor:
        """Returns (P, queries, hidden): at each place the edges of the box that covers most of it."""
        starts = [0, *accumulate(len(part.boxes) for part in parts)]
        owners = torch.stack([part.owner + start for part, start in zip(parts, starts, strict=False)])
        boxes = edges(torch.cat([part.boxes for part in parts])) @ self._edges
        firm = torch.stack([part.firm for part in parts])
        # an image without boxes points at another's, with the weight 0
        return (firm[:, :, None] * boxes[owners.clamp(max=starts[-1] - 1)]).to(words)

    def _encoded(self, phrase: str) -> tuple[int, ...]:
        # as within a sentence: where words are parted by spaces, one stands before them
        return tuple(self._tokenizer.encode(f" {phrase}" if phrase[:1].isascii() else phrase))

    def _laid_out(self, image: str) -> _Regions:
        tokens: list[int] = []
        shares: list[Tensor] = [torch.zeros(0, self._side**2)]
        # before all boxes one that covers nothing: where no box lies there is an owner too
        each: list[Tensor] = [torch.zeros(self._side**2)]
        known = self._known.get(image, ())
        for phrase, box in known:
            own = self._words(phrase)
            tokens += own
            each.append(covered(box, self._side))
            shares.append(WORDS * torch.tensor([self._weights[token] for token in own])[:, None] * each[-1])
        most, owner = torch.stack(each).max(0)
        return _Regions(
            torch.tensor(tokens, dtype=torch.int64),
            torch.cat(shares),
            torch.tensor([box for _, box in known], dtype=torch.float32).reshape(-1, 4),
            (owner - 1).clamp(min=0),
            # a box over half of a place weighs as much as one over all of it
            (2 * most).clamp(max=1),
        )
