"""What a training run tells of itself."""

from hypothesis import given
from hypothesis import strategies as st

from model.journal import POINTS, evened


@given(st.lists(st.floats(-1e3, 1e3), max_size=450))
def test_curves_are_means_over_neighbours(values: list[float]) -> None:
    """Few enough points to keep curves apart, in order, none outside what they stand for; few points stay."""
    points = [(float(step), value) for step, value in enumerate(values)]
    found = evened(points)
    assert len(found) <= POINTS
    if len(points) <= POINTS:
        assert found == points
    assert [x for x, _ in found] == sorted({x for x, _ in found})
    if points:
        assert min(values) - 1e-9 <= min(y for _, y in found)
        assert max(y for _, y in found) <= max(values) + 1e-9
