"""What can be wrong with a text that should be markup."""

from dataclasses import dataclass
from typing import Final

PROBLEMS: Final = {
    "unclosed": "a tag is opened and never closed",
    "stray": "a tag stands where it cannot",
    "coordinates": "a box or quad does not hold its numbers",
    "range": "a coordinate is not between 0 and 999",
    "order": "a box's second corner is not below and to the right of its first",
    "image": "a picture that is not there",
    "role": "a turn of nobody who speaks",
    "after_end": "text after the end",
}
"""The kinds of problem, with what each means."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: its kind (a key of PROBLEMS), the characters from `start` to `end`, and a sentence."""

    kind: str
    start: int
    end: int
    message: str


class MarkupError(ValueError):
    """A sample that cannot be written, or a text that cannot be read; `problem` is set for the latter."""

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem
