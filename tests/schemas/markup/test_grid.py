import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.markup import dequantise, quantise
from schemas.markup.tags import cells_box, nearest


@settings(deadline=None)
@given(st.integers(1, 100_000).flatmap(lambda size: st.tuples(st.just(size), st.floats(0, size))))
def test_a_coordinate_comes_back_within_a_thousandth_of_the_side(pair: tuple[int, float]) -> None:
    """Encoding and decoding moves a coordinate by half a cell and the rounding."""
    size, value = pair
    cell = quantise(value, size)
    assert 0 <= cell <= 999
    assert abs(dequantise(cell, size) - value) <= size / 2000 + 0.0051


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(20, 20_000))
def test_a_cell_is_a_fixed_point(cell: int, size: int) -> None:
    """The centre of a cell lies in that cell, for images whose cells are wider than the rounding."""
    assert quantise(dequantise(cell, size), size) == cell


@pytest.mark.parametrize(
    ("value", "size", "cell"),
    [
        (0, 640, 0),
        (640, 640, 999),
        (639.99, 640, 999),
        (-3, 640, 0),
        (9999, 640, 999),
        (0.64, 640, 1),
        (0.63, 640, 0),
    ],
)
def test_cells_are_the_floor_clamped(value: float, size: int, cell: int) -> None:
    """floor(value / size * 1000), within 0 to 999."""
    assert quantise(value, size) == cell


def test_both_published_inverses() -> None:
    """Drawing divides by 1000, evaluation by 999: only the latter reaches the edge."""
    assert [dequantise(999, 500, how) for how in ("drawing", "evaluation", "centre")] == [
        499.5,
        500.0,
        499.75,
    ]


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(0, 999), st.integers(10, 5000))
def test_a_box_read_from_cells_has_an_extent(a: int, b: int, size: int) -> None:
    """Even a box within one cell is wider than nothing."""
    low, high = sorted((a, b))
    x1, y1, x2, y2 = cells_box((low, low, high, high), (size, size))
    assert x1 < x2 or size <= 20  # half a cell is then no more than the second decimal
    assert (x1, x2) == (y1, y2)


@given(st.integers(0, 999), st.integers(1, 500))
def test_a_coarse_cell_is_the_nearest_multiple(cell: int, step: int) -> None:
    """Or the last cell, where that multiple lies beyond it; a step of one changes nothing."""
    found = nearest(cell, step)
    assert 0 <= found <= 999
    assert found == 999 or (found % step == 0 and abs(found - cell) <= step / 2)
    assert found < 999 or cell + step / 2 >= 999
    assert nearest(cell, 1) == cell
