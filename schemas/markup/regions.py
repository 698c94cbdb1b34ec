"""Reading the numbers of a box or a quad."""

import re
from typing import Final

from schemas.markup.grid import GRID, Size, cells_box, cells_quad
from schemas.sample import Box, Quad

_POINT: Final = r"\(([0-9]{1,9}),([0-9]{1,9})\)"
_STRICT: Final = {"box": re.compile(",".join([_POINT] * 2)), "quad": re.compile(",".join([_POINT] * 4))}
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_LONGEST: Final = 400
"""Characters beyond which no attempt is made to find numbers in junk."""


def exact_cells(kind: str, text: str) -> list[int] | None:
    """The cells in the text of a box or quad, exactly as the format has them; None if it is not."""
    match = _STRICT[kind].fullmatch(text)
    return None if match is None else [int(one) for one in match.groups()]


def found_cells(kind: str, text: str) -> list[int] | None:
    """The cells in a text that holds just the right count of numbers, whatever stands between them."""
    numbers = _NUMBER.findall(text[:_LONGEST])
    if len(numbers) != (4 if kind == "box" else 8) or len(text) > _LONGEST:
        return None
    # fractions are cut off; a number of many digits is out of range whatever it is
    return [int(one.split(".")[0][:10]) for one in numbers]


def outside(cells: list[int]) -> bool:
    """Whether a cell is not on the grid."""
    return not all(0 <= cell < GRID for cell in cells)


def clamped(cells: list[int]) -> list[int]:
    """Cells moved onto the grid."""
    return [min(max(cell, 0), GRID - 1) for cell in cells]


def as_box(cells: list[int], size: Size) -> Box:
    """Pixels of a box whose corners may be any two opposite ones."""
    x1, y1, x2, y2 = cells
    return cells_box((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), size)


def as_quad(cells: list[int], size: Size) -> Quad:
    """Pixels of a quad."""
    return cells_quad(cells, size)


def reversed_box(kind: str, cells: list[int]) -> bool:
    """Whether a box's second corner is above or to the left of its first."""
    return kind == "box" and (cells[0] > cells[2] or cells[1] > cells[3])
