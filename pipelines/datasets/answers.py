"""One answer out of several annotators'."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipelines.datasets.reasons import Refused

CONFIDENCE: Final = {"yes": 2, "maybe": 1, "no": 0}


def most_confident(answers: Iterable[Mapping[str, Any]]) -> str:
    """The answer with the most confidence: each annotator's yes counts two, maybe one, no nothing.

    Ties go to the first in the alphabet. Where nobody is confident each annotator counts one.
    """
    given = [(one["answer"], CONFIDENCE.get(one.get("answer_confidence", "yes"), 0)) for one in answers]
    weighted: Counter[str] = Counter()
    for answer, weight in given:
        if answer.strip():
            weighted[answer.strip()] += weight
    if not any(weighted.values()):
        weighted = Counter(answer.strip() for answer, _ in given if answer.strip())
    return _best(weighted)


def most_frequent(answers: Iterable[str]) -> str:
    """The answer that most annotators gave; ties go to the first in the alphabet."""
    return _best(Counter(answer.strip() for answer in answers if answer.strip()))


def first(answers: Iterable[str]) -> str:
    """The first answer with words, where the list holds spellings of one answer."""
    found = next((answer.strip() for answer in answers if answer.strip()), None)
    if found is None:
        raise Refused("empty_answer")
    return found


def _best(counted: Counter[str]) -> str:
    if not counted:
        raise Refused("empty_answer")
    return min(counted, key=lambda answer: (-counted[answer], answer))
