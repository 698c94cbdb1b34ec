"""Coordinates on Qwen-VL's grid: whole numbers from 0 to 999, relative to the stored picture."""

import math
from collections.abc import Sequence
from typing import Final, Literal

from schemas.sample import Box, Quad

GRID: Final = 1000
"""Cells a side."""

Size = tuple[int, int]
"""Width and height of a picture, in pixels."""

Inverse = Literal["centre", "drawing", "evaluation"]


def quantise(value: float, size: int, grid: int = GRID) -> int:
    """The cell of a coordinate: floor(value / size * grid), clamped to 0 .. grid - 1."""
    return min(max(math.floor(value * grid / size), 0), grid - 1)


def dequantise(cell: int, size: int, inverse: Inverse = "centre") -> float:
    """Pixels of a cell, two decimals: its centre, or as in published drawing (/ 1000), evaluation (/ 999)."""
    if inverse == "drawing":
        return round(cell * size / GRID, 2)
    if inverse == "evaluation":
        return round(cell * size / (GRID - 1), 2)
    return round((cell + 0.5) * size / GRID, 2)


def box_cells(box: Box, size: Size) -> tuple[int, int, int, int]:
    """The four cells of a box."""
    width, height = size
    x1, y1, x2, y2 = box
    return quantise(x1, width), quantise(y1, height), quantise(x2, width), quantise(y2, height)


def quad_cells(quad: Quad, size: Size) -> list[tuple[int, int]]:
    """The four cells of a quad's corners."""
    width, height = size
    return [(quantise(x, width), quantise(y, height)) for x, y in quad]


def nearest(cell: int, step: int) -> int:
    """The multiple of `step` that is nearest to a cell, of two as near the larger one; clamped as `quantise`."""
    return min((cell + step // 2) // step * step, GRID - 1)


def cells_box(cells: Sequence[int], size: Size) -> Box:
    """Pixels of a box of cells, never without extent: within one cell it reaches from a quarter to three."""
    x1, y1, x2, y2 = cells
    left, right = _edges(x1, x2, size[0])
    top, bottom = _edges(y1, y2, size[1])
    return left, top, right, bottom


def cells_quad(cells: Sequence[int], size: Size) -> Quad:
    """Pixels of a quad of cells."""
    xs = [dequantise(cell, size[0]) for cell in cells[0::2]]
    ys = [dequantise(cell, size[1]) for cell in cells[1::2]]
    first, second, third, fourth = zip(xs, ys, strict=True)
    return first, second, third, fourth


def _edges(low: int, high: int, size: int) -> tuple[float, float]:
    if low == high:
        return round((low + 0.25) * size / GRID, 2), round((low + 0.75) * size / GRID, 2)
    return dequantise(low, size), dequantise(high, size)
