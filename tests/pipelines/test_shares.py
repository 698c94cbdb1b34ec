"""Shares that are drawn by name."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.shares import is_drawn


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.floats(0, 1))
def test_a_share_by_name(seed: int, share: float) -> None:
    """The share drawn is about what was asked for, and a larger share holds the smaller."""
    names = [f"{number:032x}" for number in range(2000)]
    drawn = {name for name in names if is_drawn(share, seed, "split", name)}
    assert abs(len(drawn) / len(names) - share) < 0.06
    assert drawn <= {name for name in names if is_drawn(min(1, share + 0.1), seed, "split", name)}


def test_each_purpose_draws_its_own() -> None:
    """The same names are drawn otherwise for another purpose and for another seed."""
    names = [str(number) for number in range(500)]
    drawn = {tuple(is_drawn(0.5, seed, use, name) for name in names) for seed in (0, 1) for use in ("a", "b")}
    assert len(drawn) == 4
    assert not any(is_drawn(0, 0, name) for name in names)
    assert all(is_drawn(1, 0, name) for name in names)
