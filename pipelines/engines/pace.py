"""How long tasks take: what goes into one batch, and when a task is late.

Tasks come with their weights (bytes or rows), the heaviest are handed out first, and tiny ones go out in batches. When
no task is left to hand out, one that is late is given to a second worker. Whichever ends first counts, the other one is
stopped. Both would write the same bytes, each file whole or not at all.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median_high
from typing import Final

LATE: Final = 2.0
"""A task is late when it takes so many times what one of its weight takes."""

SHORTEST: Final = 5.0
"""No task of so few seconds is late: to begin another one takes its time too."""

BATCH: Final = 0.25
"""So many seconds the tasks of a batch take: what a lost host loses, and far more than it costs to send them."""

MOST: Final = 256
"""So many tasks a batch has at most."""

RECENT: Final = 255
"""So many of the tasks done last say how long one takes."""


def heaviest_first(count: int, weights: Sequence[float]) -> list[int]:
    """Returns the places of `count` tasks, the greatest weights first; those that are alike in their order."""
    return sorted(range(count), key=lambda at: -weights[at] if weights else 0)


class Pace:
    """How long the tasks of a step take, given their `weights` in any unit; () where they are alike."""

    def __init__(self, weights: Sequence[float] = ()) -> None:
        self._weights = weights
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._done = 0
        self._medians: tuple[float, float] | None = None

    def note(self, task: int, seconds: float) -> None:
        """Takes in a task that is done."""
        self._recent.append((seconds, self._weight(task)))
        self._done += 1
        self._medians = None

    def expected(self, task: int) -> float:
        """Returns the seconds that a task takes, as far as those that are done tell; there has to be one.

        The median, and of a task that is heavier than that one in proportion: what a task takes beside its weight makes
        that too long, never too short.
        """
        if self._medians is None:
            seconds, weights = zip(*self._recent, strict=True)
            self._medians = median_high(seconds), median_high(weights)
        typical, weight = self._medians
        return typical * max(1.0, self._weight(task) / max(weight, 1.0))

    def batch(self, left: deque[int], workers: int) -> list[int]:
        """Takes the next tasks for one worker off those `left`: so many that they take a fraction of a second.

        One, until a task is done; and no more than half of a worker's share, so that the last batches end together.
        """
        batch = [left.popleft()]
        most = min(MOST, -(-len(left) // (2 * workers))) if self._done else 1
        seconds = self.expected(batch[0]) if self._done else 0.0
        while left and len(batch) < most and (seconds := seconds + self.expected(left[0])) <= BATCH:
            batch.append(left.popleft())
        return batch

    def first_late(self, ages: Mapping[int, float]) -> tuple[int, float] | None:
        """Returns which of the tasks at work is late first, and in how many seconds; None where nobody can tell.

        `ages` are the seconds that each has been at work. At least as many have to be done.
        """
        if not ages or self._done < len(ages):
            return None
        left = {task: max(LATE * self.expected(task), SHORTEST) - age for task, age in ages.items()}
        first = min(left, key=lambda task: left[task])
        return first, max(0.0, left[first])

    def _weight(self, task: int) -> float:
        return self._weights[task] if self._weights else 1.0
