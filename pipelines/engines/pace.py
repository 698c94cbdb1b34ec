"""Backup tasks: when no task is left to hand out, one that is late is given to a second worker.

Whichever ends first counts, the other one is stopped. Both would write the same bytes, each file whole or not at all.
"""

from bisect import insort
from collections.abc import Collection
from typing import Final

LATE: Final = 2.0
"""A task is late when it takes so many times the median of those that are done."""

SHORTEST: Final = 5.0
"""No task of so few seconds is late: to begin another one takes its time too."""


class Pace:
    """How long the tasks of a step take."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def note(self, seconds: float) -> None:
        """Takes in a task that is done."""
        insort(self._seconds, seconds)

    def until_late(self, ages: Collection[float]) -> float | None:
        """Returns in how many seconds the oldest of the tasks at work is late; None where nobody can tell.

        `ages` are the seconds that each has been at work. At least as many have to be done.
        """
        if not ages or len(self._seconds) < len(ages):
            return None
        median = self._seconds[len(self._seconds) // 2]
        return max(0.0, max(LATE * median, SHORTEST) - max(ages))
