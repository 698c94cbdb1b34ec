"""The outlines of the ten shapes, and their masks in pixels.

A shape is one polygon, or a polygon with a polygon cut out of it, in a square from -1 to 1 with y
pointing down. Only a handful of points pass through `math`, and all are rounded to whole pixels of
an enlarged mask, so masks are equal on every machine.
"""

import math
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

Point = tuple[float, float]

ENLARGE: Final = 4
"""Masks are drawn this many times larger and averaged down: smooth edges."""


def _arc(
    radius: float, start: float = 0.0, end: float = 360.0, centre: Point = (0, 0), steps: int = 72
) -> list[Point]:
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def _regular(corners: int, turn: float = -90.0) -> list[Point]:
    return _arc(1.0, turn, turn + 360.0 * (corners - 1) / corners, steps=corners - 1)


def _star() -> list[Point]:
    outer = _regular(5)
    inner = [(0.42 * x, 0.42 * y) for x, y in _regular(5, -54.0)]
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _heart() -> list[Point]:
    points = []
    for i in range(72):
        t = 2 * math.pi * i / 72
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17, -y / 17))
    return points


def _cross() -> list[Point]:
    a, b = 0.33, 0.95
    return [
        (-a, -b),
        (a, -b),
        (a, -a),
        (b, -a),
        (b, a),
        (a, a),
        (a, b),
        (-a, b),
        (-a, a),
        (-b, a),
        (-b, -a),
        (-a, -a),
    ]


def _crescent() -> list[Point]:
    """A disc less a smaller disc to its right, as the arc of one and the arc of the other."""
    # the two circles (0, 0, 1) and (0.45, 0, 0.8) meet where both hold
    x = (1 - 0.8**2 + 0.45**2) / (2 * 0.45)
    outer = math.degrees(math.acos(x))
    inner = math.degrees(math.atan2(math.sqrt(1 - x * x), x - 0.45))
    return _arc(1.0, outer, 360 - outer) + _arc(0.8, 360 - inner, inner, (0.45, 0.0))


@dataclass(frozen=True, slots=True)
class Outline:
    """A polygon, what is cut out of it, and how far it may be turned and stay what it is called."""

    points: list[Point]
    hole: list[Point] | None = None
    turn: float = 8.0


OUTLINES: Final[dict[str, Outline]] = {
    "circle": Outline(_arc(1.0)),
    "square": Outline([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]),
    "triangle": Outline([(0.0, -0.95), (0.88, 0.72), (-0.88, 0.72)]),
    "star": Outline(_star(), turn=20.0),
    "heart": Outline(_heart(), turn=15.0),
    "cross": Outline(_cross(), turn=5.0),
    "ring": Outline(_arc(1.0), _arc(0.56)),
    "diamond": Outline([(0.0, -1.0), (0.68, 0.0), (0.0, 1.0), (-0.68, 0.0)], turn=5.0),
    "crescent": Outline(_crescent(), turn=25.0),
    "hexagon": Outline(_regular(6, 0.0), turn=15.0),
}
"""Every shape, by the name that captions, labels and questions know it by."""

SHAPES: Final = tuple(OUTLINES)


def _placed(points: list[Point], side: float, angle: float) -> list[tuple[int, int]]:
    """The points turned by `angle` degrees and scaled into an enlarged square of `side` pixels."""
    half = side * ENLARGE / 2
    reach = half * 0.94  # leaves room for the edge line
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [(round(half + reach * (x * c - y * s)), round(half + reach * (x * s + y * c))) for x, y in points]


def masks(shape: str, side: int, angle: float) -> tuple[Image.Image, Image.Image]:
    """(filling, filling and edge line) of a shape: two grey images of side x side pixels."""
    outline = OUTLINES[shape]
    rings = [_placed(points, side, angle) for points in (outline.points, outline.hole) if points]
    large = Image.new("L", (side * ENLARGE, side * ENLARGE))
    pen = ImageDraw.Draw(large)
    for ring, value in zip(rings, (255, 0), strict=False):
        pen.polygon(ring, fill=value)
    filling = large.reduce(ENLARGE)
    width = max(ENLARGE, round(side * ENLARGE * 0.035))
    for ring in rings:
        pen.line([*ring, ring[0], ring[1]], fill=255, width=width, joint="curve")
    return filling, large.reduce(ENLARGE)
