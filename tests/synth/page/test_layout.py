"""Cells fill the sheet within its margins and leave each other alone."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from synth.page import layout
from synth.page.layout import DEFAULT, MILD, draw
from synth.seeds import generator


@given(st.integers(0, 10**6), st.integers(480, 2048), st.integers(480, 2048))
@settings(max_examples=100, deadline=None)
def test_cells_lie_within_the_sheet_and_apart(seed: int, width: int, height: int) -> None:
    """No cell reaches over the edge of the sheet or into another cell."""
    cells = [
        cell for grid in layout.stack(generator(seed, "layout"), width, height, DEFAULT) for cell in grid
    ]
    assert cells
    for cell in cells:
        assert cell.x >= -1e-6
        assert cell.x + cell.width <= width + 1e-6
        assert cell.y >= -1e-6
        assert cell.y + cell.height <= height + 1e-6
        assert cell.height >= DEFAULT.min_line
    for a, b in combinations(cells, 2):
        across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
        down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
        assert across < 1e-6 or down < 1e-6


@given(st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_parameters_keep_to_their_ranges(seed: int) -> None:
    """A mild page is drawn from the mild ranges: no motion blur, and shadows no darker than asked."""
    drawn = draw(generator(seed, "draw"), MILD)
    assert drawn.effects.motion is None
    assert drawn.effects.shadow[0] <= MILD.shadow[1]
    assert MILD.quality[0] <= drawn.quality <= MILD.quality[1]
    assert MILD.short_side[0] <= min(drawn.width, drawn.height) <= MILD.short_side[1]
    for x, y in drawn.corners:
        assert 0 <= x <= drawn.width
        assert 0 <= y <= drawn.height


def test_equal_seeds_draw_equal_parameters() -> None:
    """The parameters are a function of the generator alone."""
    assert draw(generator(3, "draw"), DEFAULT) == draw(generator(3, "draw"), DEFAULT)
    assert draw(generator(3, "draw"), DEFAULT) != draw(generator(4, "draw"), DEFAULT)
