"""Texts compared letter by letter: character error rate and ANLS (arXiv 1905.13648)."""

from collections.abc import Sequence


def edits(a: str, b: str) -> int:
    """The Levenshtein distance: fewest letters put in, taken out or changed."""
    if len(a) < len(b):
        a, b = b, a
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (letter != other))
    return row[-1]


def anls(given: str, answers: Sequence[str], cut: float = 0.5) -> float:
    """1 less the smallest distance by length, over the answers; 0 where that is `cut` or more away."""
    best = 0.0
    for answer in answers:
        a, b = " ".join(given.lower().split()), " ".join(answer.lower().split())
        longest = max(len(a), len(b))
        apart = edits(a, b) / longest if longest else 0.0
        best = max(best, 1 - apart if apart < cut else 0.0)
    return best


def error_rate(given: Sequence[str], truth: Sequence[str]) -> float:
    """Letters wrong by letters true, over all texts; it may be above 1. Runs of spaces count as one."""
    pairs = [(" ".join(a.split()), " ".join(b.split())) for a, b in zip(given, truth, strict=True)]
    return sum(edits(a, b) for a, b in pairs) / max(sum(len(b) for _, b in pairs), 1)
