"""Which tasks go out first and together, and when a task is late."""

import statistics
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from pipelines.engines.pace import BATCH, LATE, MOST, SHORTEST, Pace, heaviest_first

SECONDS = st.lists(st.integers(0, 1000).map(float), min_size=1, max_size=30)


def pace_of(seconds: list[float], weights: list[float] | None = None) -> Pace:
    """The pace of a step whose first tasks took so many seconds."""
    pace = Pace(weights or ())
    for task, one in enumerate(seconds):
        pace.note(task, one)
    return pace


@given(SECONDS, SECONDS)
def test_a_task_is_late_beyond_twice_the_median(done: list[float], ages: list[float]) -> None:
    """The oldest of equal tasks is late first, beyond twice the median of those done and some seconds."""
    late = pace_of(done).first_late(dict(enumerate(ages)))
    if len(done) < len(ages):
        assert late is None
    else:
        limit = max(LATE * statistics.median_high(done), SHORTEST)
        assert late == (ages.index(max(ages)), max(0, limit - max(ages)))


def test_a_task_ten_times_as_heavy_may_take_ten_times_as_long() -> None:
    """A heavy task is late only beyond twice what its weight lets expect; a light one is not late earlier for that."""
    pace = pace_of([10.0] * 3, [100, 100, 100, 1000, 1])
    assert pace.first_late({3: 25.0}) == (3, LATE * 100 - 25)
    assert pace.first_late({4: 15.0}) == (4, LATE * 10 - 15)
    assert pace.first_late({3: 25.0, 4: 15.0}) == (4, LATE * 10 - 15)


def test_nobody_can_tell_without_tasks_that_are_done() -> None:
    """The first tasks of a step are never late, and where nothing is at work nothing is."""
    assert Pace().first_late({0: 1e9}) is None
    assert pace_of([1]).first_late({}) is None


@given(st.lists(st.integers(0, 9), max_size=20))
def test_heavy_tasks_go_first(weights: list[int]) -> None:
    """All tasks are handed out once, by falling weight, those of one weight in their order."""
    order = heaviest_first(len(weights), weights)
    assert sorted(order) == list(range(len(weights)))
    assert [(-weights[at], at) for at in order] == sorted((-weight, at) for at, weight in enumerate(weights))
    assert heaviest_first(len(weights), ()) == list(range(len(weights)))


@given(st.lists(st.floats(0, 1), max_size=5), st.integers(1, 2000), st.integers(1, 9))
def test_a_batch_takes_a_fraction_of_a_second(done: list[float], count: int, workers: int) -> None:
    """A batch has one task at least; more where they take less than the bound, and never more than half a share."""
    left = deque(range(count))
    batch = pace_of(done).batch(left, workers)
    assert [*batch, *left] == list(range(count))
    if len(batch) > 1:
        assert len(batch) * statistics.median_high(done) <= BATCH * 1.001
        assert len(batch) <= min(MOST, count / (2 * workers) + 1)


def test_tiny_tasks_go_out_together() -> None:
    """Batches grow up to their bound where tasks take next to nothing, and a heavy task ends one."""
    assert len(pace_of([1e-4] * 9).batch(deque(range(10_000)), 2)) == MOST
    assert len(Pace().batch(deque(range(10_000)), 2)) == 1
    weights = [1.0] * 10 + [1e6] + [1.0] * 1000
    assert pace_of([0.01] * 9, weights).batch(deque(range(9, 1011)), 1) == [9]
