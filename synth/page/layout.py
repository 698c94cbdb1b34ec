"""The parameters of a page: all that is random about it, drawn before anything is rendered.

Where its lines go is a stack of grids, after SynthDoG's layout but with code of our own. The names and numbers of
DEFAULT are those of `config_en.yaml` and `config_zh.yaml` of SynthDoG (Kim et al., arXiv 2111.15664); docs/ocr.md
lists what was changed and why.
"""

import colorsys
import math
import random
from dataclasses import dataclass, replace
from typing import Final

from schemas.errors import InputError

Span = tuple[float, float]
"""Lowest and highest value of an even draw."""

Percents = tuple[Span, Span, Span, Span]
"""How far the top, right, bottom and left edge of a document may shrink."""

_EDGE: Final = (0.75, 1.0)
_WHOLE: Final = (1.0, 1.0)
PERSPECTIVES: Final[tuple[tuple[int, Percents], ...]] = (
    (750, (_EDGE, _EDGE, _EDGE, _EDGE)),
    (50, (_EDGE, _WHOLE, _EDGE, _WHOLE)),
    (50, (_WHOLE, _EDGE, _WHOLE, _EDGE)),
    (25, (_EDGE, _WHOLE, _WHOLE, _WHOLE)),
    (25, (_WHOLE, _EDGE, _WHOLE, _WHOLE)),
    (25, (_WHOLE, _WHOLE, _EDGE, _WHOLE)),
    (25, (_WHOLE, _WHOLE, _WHOLE, _EDGE)),
    (50, (_WHOLE, _WHOLE, _WHOLE, _WHOLE)),
)
"""Weight and percents of each of the eight kinds of perspective."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Sizes in pixels, shares of a side, probabilities, or the effect's own unit."""

    short_side: Span = (720, 1024)
    aspect: Span = (1, 2)
    landscape: float = 0.5
    quality: Span = (50, 95)
    background_sigma: Span = (0, 10)
    full_screen: float = 0.5
    document_short_side: Span = (480, 1024)
    paper_alpha: Span = (0, 0.2)
    margin: Span = (0, 0.1)
    text_scale: Span = (0.0334, 0.1)
    min_line: int = 20  # pixels a line, our own floor: below it no reader tells Han characters apart
    max_rows: int = 10
    max_columns: int = 3
    fill: Span = (0.5, 1)
    full: float = 0.1
    stack_spacing: float = 0.0334
    stack_fill: Span = (0.5, 1)
    stack_full: float = 0.1
    box_fill: Span = (0.5, 1)
    box_colour: float = 0.2
    content_colour: float = 0.2
    gray: Span = (0, 64)
    elastic_alpha: Span = (0, 1)
    elastic_sigma: Span = (0, 0.5)
    noise: Span = (0, 8)
    perspectives: tuple[tuple[int, Percents], ...] = PERSPECTIVES
    tint: float = 0.2
    tint_alpha: Span = (0, 0.2)
    shadow: Span = (0, 160)
    shadow_amount: Span = (0, 1)
    shadow_smoothing: Span = (0.5, 1)
    contrast: Span = (1, 1.5)
    brightness: Span = (-48, 0)
    motion: float = 0.5
    motion_lengths: tuple[int, ...] = (3, 5)
    blur: Span = (0, 1.5)


DEFAULT: Final = Ranges()
_NEAR: Final = (0.92, 1.0)
MILD: Final = replace(
    DEFAULT,
    quality=(75, 95),
    min_line=24,
    elastic_alpha=(0, 0.5),
    noise=(0, 3),
    perspectives=((1, (_NEAR, _NEAR, _NEAR, _NEAR)), (1, (_WHOLE, _WHOLE, _WHOLE, _WHOLE))),
    tint_alpha=(0, 0.1),
    shadow=(0, 60),
    contrast=(1, 1.2),
    brightness=(-20, 0),
    motion=0,
    blur=(0, 0.6),
)
SETTINGS: Final = {"default": DEFAULT, "mild": MILD}


def ranges(setting: str) -> Ranges:
    """The ranges of a setting by name; InputError for a name that is none."""
    if setting not in SETTINGS:
        raise InputError(f"setting must be {' or '.join(SETTINGS)}, not {setting!r}")
    return SETTINGS[setting]


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


Colour = tuple[int, int, int]
Point = tuple[float, float]
Corners = tuple[Point, Point, Point, Point]
"""Top left, top right, bottom right, bottom left."""


@dataclass(frozen=True, slots=True)
class Box:
    """One line to be: its cell, how much of it text may fill, and its colour."""

    cell: Cell
    fill: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one font: `face` is drawn from [0, 1) and stands for a place among the fonts at hand."""

    face: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Effects:
    """Strengths of all effects; seeds stand for the grain of noise, paper and distortion."""

    elastic: tuple[float, float, int]  # alpha and sigma in pixels, seed
    noise: tuple[float, int]  # standard deviation in grey levels, seed
    tint: tuple[Colour, float] | None
    shadow: tuple[int, float, float, float]  # intensity, amount, smoothing, direction in turns
    contrast: float
    brightness: int
    motion: tuple[int, float] | None  # length in pixels, direction in turns
    blur: float


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything that determines a page apart from its text, the fonts and the images at hand."""

    width: int
    height: int
    quality: int
    background: tuple[float, float, int]  # place among the images, blur sigma, seed
    document: tuple[int, int]  # width and height in pixels before perspective
    corners: Corners  # where its corners come to lie, in pixels of the page
    paper: tuple[float, int]  # alpha, seed
    blocks: tuple[Block, ...]
    effects: Effects
    text: int  # the seed of the reader's place in the text


def draw(rng: random.Random, ranges: Ranges, *, vertical: bool = False) -> Parameters:
    """Parameters drawn from `ranges`; with `vertical` the lines are columns from right to left."""
    width, height = _size(rng, ranges.short_side, ranges)
    document = (width, height)
    if rng.random() >= ranges.full_screen:
        wide, high = _size(rng, ranges.document_short_side, ranges)
        document = min(wide, width), min(high, height)
    left, top = rng.randint(0, width - document[0]), rng.randint(0, height - document[1])
    weights = [weight for weight, _ in ranges.perspectives]
    percents = rng.choices([kind for _, kind in ranges.perspectives], weights)[0]
    corners = _corners(rng, (left, top, *document), percents)
    return Parameters(
        width=width,
        height=height,
        quality=rng.randint(int(ranges.quality[0]), int(ranges.quality[1])),
        background=(rng.random(), rng.uniform(*ranges.background_sigma), rng.getrandbits(32)),
        document=document,
        corners=corners,
        paper=(rng.uniform(*ranges.paper_alpha), rng.getrandbits(32)),
        blocks=_blocks(rng, document, _upright(ranges, corners, document), vertical),
        effects=_effects(rng, ranges),
        text=rng.getrandbits(32),
    )


def _size(rng: random.Random, side: tuple[float, float], ranges: Ranges) -> tuple[int, int]:
    landscape = rng.random() < ranges.landscape
    short = rng.randint(int(side[0]), int(side[1]))
    long = int(short * rng.uniform(*ranges.aspect))
    return (long, short) if landscape else (short, long)


def _corners(rng: random.Random, box: tuple[int, int, int, int], percents: Percents) -> Corners:
    """The corners of a box whose edges shrink towards a point drawn on each of them."""
    x, y, width, height = box
    edges = []
    for low, high in percents:
        share, lean = rng.uniform(low, high), rng.random()
        edges.append(((1 - share) * lean, (1 - share) * lean + share))
    top, right, bottom, left = edges
    return (
        (x + top[0] * width, y + left[0] * height),
        (x + top[1] * width, y + right[0] * height),
        (x + bottom[1] * width, y + right[1] * height),
        (x + bottom[0] * width, y + left[1] * height),
    )


def _upright(ranges: Ranges, corners: Corners, document: tuple[int, int]) -> Ranges:
    """The ranges with a floor under lines that still holds after the sheet has shrunk."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    across = min(bx - ax, cx - dx) / document[0]
    down = min(dy - ay, cy - by) / document[1]
    return replace(ranges, min_line=math.ceil(ranges.min_line / min(across, down)))


def _blocks(
    rng: random.Random, document: tuple[int, int], ranges: Ranges, vertical: bool
) -> tuple[Block, ...]:
    width, height = document
    grids = stack(rng, height, width, ranges) if vertical else stack(rng, width, height, ranges)
    content = _colour(rng, ranges) if rng.random() < ranges.content_colour else None
    blocks = []
    for grid in grids:
        boxes = []
        for cell in grid:
            own = _colour(rng, ranges) if rng.random() < ranges.box_colour else (0, 0, 0)
            boxes.append(Box(cell, rng.uniform(*ranges.box_fill), content or own))
        blocks.append(Block(rng.random(), tuple(boxes)))
    return tuple(blocks)


def _colour(rng: random.Random, ranges: Ranges) -> Colour:
    """A dark colour of any hue, as light as a grey of the range."""
    level = rng.uniform(*ranges.gray) / 255
    red, green, blue = colorsys.hls_to_rgb(rng.random(), level, rng.random())
    return round(red * 255), round(green * 255), round(blue * 255)


def _effects(rng: random.Random, ranges: Ranges) -> Effects:
    tint = (rng.randrange(256), rng.randrange(256), rng.randrange(256)), rng.uniform(*ranges.tint_alpha)
    motion = rng.choice(ranges.motion_lengths), rng.random()
    shadow = int(rng.uniform(*ranges.shadow)), rng.uniform(*ranges.shadow_amount)
    return Effects(
        elastic=(
            rng.uniform(*ranges.elastic_alpha),
            rng.uniform(*ranges.elastic_sigma),
            rng.getrandbits(32),
        ),
        noise=(rng.uniform(*ranges.noise), rng.getrandbits(32)),
        tint=tint if rng.random() < ranges.tint else None,
        shadow=(*shadow, rng.uniform(*ranges.shadow_smoothing), rng.random()),
        contrast=rng.uniform(*ranges.contrast),
        brightness=int(rng.uniform(*ranges.brightness)),
        motion=motion if rng.random() < ranges.motion else None,
        blur=rng.uniform(*ranges.blur),
    )
