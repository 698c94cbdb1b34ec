"""Pictures told in words: at each of a picture's places stand the words of what lies there.

A language model that starts from nothing has much to learn before a picture is of use to it: to find, in what is
shown, what a question names, and to turn where it lies into a box. It learns that far sooner when what is shown is
clear, so it is first told each picture (stages `primer` and `language`): at a place stand the embeddings of the
words of the phrases whose boxes lie there, each weighted by how much of the place its box covers. Then the vision
encoder and the adapter learn to show what would have been told (stage `sight`). All it takes are grounded phrases.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from model.order import generator
from model.tokenizer import TagTokenizer
from schemas.sample import Phrase, Sample

PLACE: Final = 0.1
"""How large the mark of its row and column is that each place bears, in the size of words (model/start.py)."""

SAMPLES: Final = 200_000
"""Grounded samples that are taken note of; pictures beyond them are not told."""

Region = tuple[str, tuple[float, float, float, float]]
"""A phrase and one of its boxes, in shares of the picture's width and height."""


def regions(samples: Iterable[Sample]) -> dict[str, tuple[Region, ...]]:
    """What lies where in each picture, by its SHA-256: of the sample that tells most boxes."""
    found: dict[str, tuple[Region, ...]] = {}
    for sample in samples:
        if len(sample.images) != 1 or sample.task == "ocr":
            continue
        picture = sample.images[0]
        here = tuple(
            (one.phrase, (x1 / picture.width, y1 / picture.height, x2 / picture.width, y2 / picture.height))
            for turn in sample.turns
            for one in turn.segments
            if isinstance(one, Phrase)
            for x1, y1, x2, y2 in one.boxes
        )
        if len(here) > len(found.get(picture.sha256, ())):
            found[picture.sha256] = here
    return found


def covered(box: tuple[float, float, float, float], side: int) -> Tensor:
    """(side * side,): the share of each place of a side x side grid, rows first, that lies in the box."""
    x1, y1, x2, y2 = (value * side for value in box)
    edges = torch.arange(side, dtype=torch.float32)
    across = (edges.add(1).clamp(max=x2) - edges.clamp(min=x1)).clamp(min=0)
    down = (edges.add(1).clamp(max=y2) - edges.clamp(min=y1)).clamp(min=0)
    return (down[:, None] * across).flatten()


@dataclass(frozen=True, slots=True)
class _Told:
    """The tokens of a picture's words, (K,), and how much of each place they cover, (K, queries)."""

    tokens: Tensor
    shares: Tensor


class Teller:
    """Tells pictures whose regions are known; of others it tells nothing but the places themselves."""

    def __init__(
        self,
        known: Mapping[str, Sequence[Region]],
        tokenizer: TagTokenizer,
        queries: int,
        hidden: int,
    ) -> None:
        self._known, self._tokenizer, self._side = known, tokenizer, isqrt(queries)
        self._memory: dict[str, _Told] = {}
        lines = torch.from_numpy(generator("places").standard_normal((2, self._side, hidden))).float()
        marks = (lines[0][:, None] + lines[1]) / 2**0.5
        self._marks = PLACE * marks.reshape(queries, hidden)

    def __contains__(self, picture: str) -> bool:
        return picture in self._known

    def tell(self, pictures: Sequence[str], words: Tensor) -> Tensor:
        """(P, queries, hidden): what stands at the places of `pictures`; `words` are all tokens' embeddings."""
        marks = self._marks.to(words)
        told = (words[self._tokenizer.pad] + marks).expand(len(pictures), -1, -1)
        parts = [self._told(picture) for picture in pictures]
        tokens = torch.cat([part.tokens for part in parts]) if parts else torch.zeros(0, dtype=torch.int64)
        if len(tokens) == 0:
            return told
        shares = torch.cat([part.shares for part in parts]).to(words)
        owners = torch.repeat_interleave(
            torch.arange(len(parts)), torch.tensor([len(part.tokens) for part in parts])
        )
        said = shares[:, :, None] * words[tokens.to(words.device)][:, None]
        return told.index_add(0, owners.to(words.device), said)

    def _told(self, picture: str) -> _Told:
        found = self._memory.get(picture)
        if found is None:
            tokens: list[int] = []
            shares: list[Tensor] = [torch.zeros(0, self._side**2)]
            for phrase, box in self._known.get(picture, ()):
                # as within a sentence: where words are parted by spaces, one stands before them
                own = self._tokenizer.encode(f" {phrase}" if phrase[:1].isascii() else phrase)
                tokens += own
                shares.append(covered(box, self._side).expand(len(own), -1))
            found = self._memory[picture] = _Told(torch.tensor(tokens, dtype=torch.int64), torch.cat(shares))
        return found
