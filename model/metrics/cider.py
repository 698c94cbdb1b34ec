"""CIDEr-D (arXiv 1411.5726): how much a caption says, in the words of its references, of what is special."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from model.metrics.words import words

Gram = tuple[str, ...]

_LONGEST: Final = 4
_SIGMA: Final = 6.0


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """The score of each caption against its picture's references, 0 to 10; their mean is the set's CIDEr.

    Document frequencies are counted over the pictures' references. ValueError where a picture has none.
    """
    if len(captions) != len(references) or not all(references):
        raise ValueError("each caption needs at least one reference")
    counted = [[_grams(one) for one in each] for each in references]
    frequency: Counter[Gram] = Counter()
    for each in counted:
        frequency.update({gram for counts in each for gram in counts})
    pictures = math.log(len(captions)) if captions else 0.0

    def vectors(counts: Counter[Gram]) -> list[dict[Gram, float]]:
        weights: list[dict[Gram, float]] = [{} for _ in range(_LONGEST)]
        for gram, count in counts.items():
            weights[len(gram) - 1][gram] = count * (pictures - math.log(max(frequency[gram], 1)))
        return weights

    scores = []
    for caption, each in zip(captions, counted, strict=True):
        own = _grams(caption)
        mine = vectors(own)
        total = sum(_likeness(mine, vectors(one), _length(own) - _length(one)) for one in each)
        scores.append(10.0 * total / len(each))
    return scores


def _grams(text: str) -> Counter[Gram]:
    listed = words(text)
    return Counter(
        tuple(listed[at : at + size])
        for size in range(1, _LONGEST + 1)
        for at in range(len(listed) - size + 1)
    )


def _length(counts: Counter[Gram]) -> int:
    return sum(count for gram, count in counts.items() if len(gram) == 1)


def _likeness(mine: list[dict[Gram, float]], theirs: list[dict[Gram, float]], longer: int) -> float:
    """The mean over n of the cosines, clipped so that repeating a word earns nothing, less for length."""
    total = 0.0
    for a, b in zip(mine, theirs, strict=True):
        norm = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
        if norm:
            total += sum(min(value, b[gram]) * b[gram] for gram, value in a.items() if gram in b) / norm
    return total / _LONGEST * math.exp(-(longer**2) / (2 * _SIGMA**2))
