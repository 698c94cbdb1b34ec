"""When a task is late."""

import statistics

from hypothesis import given
from hypothesis import strategies as st

from pipelines.engines.pace import LATE, SHORTEST, Pace

SECONDS = st.lists(st.floats(0, 1000), min_size=1, max_size=30)


@given(SECONDS, SECONDS)
def test_a_task_is_late_beyond_twice_the_median(done: list[float], ages: list[float]) -> None:
    """The oldest task is late when it takes twice the median of those done, and more than some seconds."""
    pace = Pace()
    for seconds in done:
        pace.note(seconds)
    wait = pace.until_late(ages)
    if len(done) < len(ages):
        assert wait is None
    else:
        limit = max(LATE * statistics.median_high(done), SHORTEST)
        assert wait == max(0, limit - max(ages))


def test_nobody_can_tell_without_tasks_that_are_done() -> None:
    """The first tasks of a step are never late, and where nothing is at work nothing is."""
    assert Pace().until_late([1e9]) is None
    pace = Pace()
    pace.note(1)
    assert pace.until_late([]) is None
