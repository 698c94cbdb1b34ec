"""Where the lines of a page go: a stack of grids, after SynthDoG's layout but with code of our own."""

import random
from dataclasses import dataclass
from typing import Final

from synth.page.ranges import Ranges, Span

ALIGNS: Final = ("left", "right", "center")
NARROWEST: Final = 4
"""Characters that a column has room for at least, where there is more than one; SynthDoG's is 1."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The place of one line in pixels of the document, and the side its text leans to."""

    x: float
    y: float
    width: float
    height: float
    align: str


Grid = tuple[Cell, ...]
"""Cells of one text size, column by column."""


def stack(rng: random.Random, width: int, height: int, ranges: Ranges) -> tuple[Grid, ...]:
    """Grids that fill a document of width x height pixels from top to bottom within its margins.

    At least one grid comes back unless not even one line fits.
    """
    left, top = width * rng.uniform(*ranges.margin), height * rng.uniform(*ranges.margin)
    across, down = width - 2 * left, height - 2 * top
    spacing = ranges.stack_spacing * min(across, down)
    room = down * (1 if rng.random() < ranges.stack_full else rng.uniform(*ranges.stack_fill))
    sizes = _sizes(min(across, down), ranges)
    grids: list[Grid] = []
    used = 0.0
    while (grid := _grid(rng, (across, room - used), rng.uniform(*sizes), ranges)) is not None:
        grids.append(tuple(_moved(cell, left, top + used) for cell in grid))
        used = max(cell.y + cell.height for cell in grids[-1]) - top + spacing
    return _spread(rng, grids, max(down - max(used - spacing, 0), 0))


def _sizes(side: float, ranges: Ranges) -> Span:
    """The span of line heights in pixels, its lower end never below the ranges' floor."""
    low, high = (side * share for share in ranges.text_scale)
    return max(low, ranges.min_line), max(high, ranges.min_line * 1.2)


def _grid(rng: random.Random, room: tuple[float, float], size: float, ranges: Ranges) -> Grid | None:
    """Rows and columns drawn among all that fit the room at this text size; None where none does."""
    width, height = room
    choices = [
        (rows, columns)
        for rows in range(1, ranges.max_rows + 1)
        for columns in range(1, ranges.max_columns + 1)
        if (columns == 1 or size * ((NARROWEST + 1) * columns - 1) <= width) and size * rows <= height
    ]
    if not choices:
        return None
    rows, columns = rng.choice(choices)
    spans = _columns(rng, width, size, columns, ranges)
    return tuple(
        Cell(x, row * size, extent, size, align)
        for x, extent, align in ((*span, rng.choice(ALIGNS)) for span in spans)
        for row in range(rows)
    )


def _columns(
    rng: random.Random, width: float, size: float, columns: int, ranges: Ranges
) -> list[tuple[float, float]]:
    """(x, width) of each column; columns lie at least one character apart."""
    least = size * NARROWEST if columns > 1 else min(size, width)
    fill = 1.0 if rng.random() < ranges.full else rng.uniform(*ranges.fill)
    gaps = size * (columns - 1)
    text = min(max(width * fill, least * columns), width - gaps)
    extra = width - text - gaps
    weights = [rng.uniform(0.25, 1) for _ in range(columns)]
    widths = [least + (text - least * columns) * weight / sum(weights) for weight in weights]
    # the rest of the room goes to the gaps and, by the toss of a coin each, to the two sides
    shares = [rng.random() if rng.random() < 0.5 else 0.0, *(rng.random() for _ in range(columns))]
    shares[-1] = shares[-1] if rng.random() < 0.5 or not sum(shares[:-1]) else 0.0
    unit = extra / max(sum(shares), 1e-9)
    spans = []
    x = shares[0] * unit
    for at, extent in enumerate(widths):
        spans.append((x, extent))
        x += extent + size + shares[at + 1] * unit
    return spans


def _moved(cell: Cell, x: float, y: float) -> Cell:
    return Cell(cell.x + x, cell.y + y, cell.width, cell.height, cell.align)


def _spread(rng: random.Random, grids: list[Grid], space: float) -> tuple[Grid, ...]:
    """The grids with the height that is left shared out at random above, between and below them."""
    shares = [rng.random() for _ in range(len(grids) + 1)]
    unit = space / max(sum(shares), 1e-9)
    spread = []
    y = 0.0
    for grid, share in zip(grids, shares, strict=False):
        y += share * unit
        spread.append(tuple(_moved(cell, 0, y) for cell in grid))
    return tuple(spread)
