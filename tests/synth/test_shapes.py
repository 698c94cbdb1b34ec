"""The masks of shapes."""

import numpy as np
import pytest

from synth.scenes import OUTLINES, SHAPES, masks


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [9, 40, 200])
def test_a_shape_fills_its_square_and_is_not_cut_off(shape: str, side: int) -> None:
    """Turned as far as it may be, a shape spans most of its square and is cut by none of its sides."""
    for angle in (-OUTLINES[shape].turn, 0.0, OUTLINES[shape].turn):
        filling, whole = masks(shape, side, angle)
        left, top, right, bottom = whole.getbbox() or (0, 0, 0, 0)
        assert max(right - left, bottom - top) > 0.75 * side
        if side == 200:
            assert min(left, top) > 0
            assert max(right, bottom) < side
        assert np.all(np.asarray(filling) <= np.asarray(whole))


def test_shapes_differ() -> None:
    """No two shapes cover nearly the same pixels."""
    covers = {shape: np.asarray(masks(shape, 100, 0.0)[0], float) / 255 for shape in SHAPES}
    for one in SHAPES:
        for other in SHAPES:
            if one < other:
                both = np.minimum(covers[one], covers[other]).sum()
                assert both / np.maximum(covers[one], covers[other]).sum() < 0.9, (one, other)


def test_a_ring_has_a_hole() -> None:
    """The middle of a ring is empty and of a circle full."""
    assert masks("ring", 60, 0.0)[0].getpixel((30, 30)) == 0
    assert masks("circle", 60, 0.0)[0].getpixel((30, 30)) == 255
