"""The parameters of a page: all that is random about it, drawn before anything is rendered."""

import colorsys
import math
import random
from dataclasses import asdict, dataclass, replace
from typing import Any

from synth.page import layout
from synth.page.layout import Cell, Percents, Ranges

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
    """Everything that determines a page apart from its text, the fonts and the pictures at hand."""

    width: int
    height: int
    quality: int
    background: tuple[float, float, int]  # place among the pictures, blur sigma, seed
    document: tuple[int, int]  # width and height in pixels before perspective
    corners: Corners  # where its corners come to lie, in pixels of the page
    paper: tuple[float, int]  # alpha, seed
    blocks: tuple[Block, ...]
    effects: Effects
    text: int  # the seed of the reader's place in the text

    def to_dict(self) -> dict[str, Any]:
        """The parameters as plain values that JSON can hold."""
        return asdict(self)


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
    grids = layout.stack(rng, height, width, ranges) if vertical else layout.stack(rng, width, height, ranges)
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
