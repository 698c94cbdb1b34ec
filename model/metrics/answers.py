"""The VQA score (arXiv 1505.00468)."""

from collections.abc import Sequence

from model.metrics.words import answer


def vqa_score(given: str, answers: Sequence[str]) -> float:
    """0 to 1: the mean over annotators of min(1, how many of the others gave this answer / 3).

    With fewer than four answers there are no three others: then 1 where any of them is the same.
    """
    same = answer(given)
    matches = [answer(one) == same for one in answers]
    if len(answers) < 4:
        return float(any(matches))
    agreed = sum(matches)
    return sum(min(1.0, (agreed - match) / 3) for match in matches) / len(matches)
