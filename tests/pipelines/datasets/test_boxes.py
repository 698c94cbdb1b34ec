import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.boxes import from_corners, from_shares, from_size
from pipelines.datasets.reasons import Refused

numbers = st.lists(st.integers(-2000, 2000) | st.floats(-3000, 3000), min_size=4, max_size=4)


@pytest.mark.parametrize("read", [from_corners, from_size, from_shares])
@settings(deadline=None)
@given(value=numbers, width=st.integers(2, 1000), height=st.integers(2, 1000))
def test_a_box_is_within_its_picture_or_refused(
    read: object, value: list[float], width: int, height: int
) -> None:
    """Whatever four numbers come, what is kept lies in the picture and has an extent."""
    with suppress(Refused):
        x1, y1, x2, y2 = read(value, width, height)  # type: ignore[operator]
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([300, 200, 100, 100], "box_xywh"),
        ([600, 400, 100, 100], "box_order"),
        ([10, 100, 30, 20], "box_xywh"),
        ([0.1, 0.2, 0.5, 0.9], "box_normalised"),
        ([0, 0, 1, 1], "box_normalised"),
        ([700, 0, 900, 10], "box_outside"),
        ([-50, 0, -9, 10], "box_outside"),
        ([10, 10, 10, 50], "box_degenerate"),
        ([10, 10, 10.001, 50], "box_degenerate"),
        ([639.999, 10, 900, 50], "box_degenerate"),
        ([0, 0, 0, 0], "box_degenerate"),
        ([1, 2, 3], "box_numbers"),
        ([1, 2, 3, "4"], "box_numbers"),
        ([1, 2, 3, None], "box_numbers"),
        ([1, 2, math.nan, 4], "box_numbers"),
        ([1, 2, math.inf, 4], "box_numbers"),
        ([1, 2, 1e300, 4], "box_numbers"),
        ("1234", "box_numbers"),
        (None, "box_numbers"),
        ({}, "box_numbers"),
    ],
)
def test_what_is_wrong_with_corners_is_named(value: list[float], reason: str) -> None:
    """Order, form, scale and place each have a reason of their own."""
    with pytest.raises(Refused) as caught:
        from_corners(value, 640, 480)
    assert caught.value.refusal.reason == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([300, 200, 620, 460], "box_xyxy"),
        ([10, 20, -5, 9], "box_order"),
        ([10, 20, 0, 9], "box_degenerate"),
        ([0.1, 0.1, 0.5, 0.5], "box_normalised"),
        ([700, 20, 9, 9], "box_outside"),
        ([1, 2, 3, True], "box_numbers"),
    ],
)
def test_what_is_wrong_with_a_sized_box_is_named(value: list[float], reason: str) -> None:
    """Corners in place of a size are told from a box that merely leaves its picture."""
    with pytest.raises(Refused) as caught:
        from_size(value, 640, 480)
    assert caught.value.refusal.reason == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([10, 20, 300, 400], "box_pixels"),
        ([0.5, 0.2, 0.1, 0.9], "box_order"),
        ([1.1, 0.2, 1.3, 0.9], "box_outside"),
        ([0.5, 0.5, 0.5, 0.9], "box_degenerate"),
        ([0.5, 0.5, "a", 0.9], "box_numbers"),
    ],
)
def test_what_is_wrong_with_shares_is_named(value: list[float], reason: str) -> None:
    """Pixels in place of shares are named."""
    with pytest.raises(Refused) as caught:
        from_shares(value, 640, 480)
    assert caught.value.refusal.reason == reason


def test_boxes_are_clipped() -> None:
    """A box that leaves its picture is cut at the edge, in each form."""
    assert from_corners([-5, 10, 700, 20], 640, 480) == (0, 10, 640, 20)
    assert from_size([600, 10, 50, 20], 640, 480) == (600, 10, 640, 30)
    assert from_shares([-0.1, 0.5, 1.05, 1.0], 640, 480) == (0, 240, 640, 480)
