"""Drawn scenes: one to four plain objects of ten shapes on a varied background.

Draw the parameters first, then render them: a `Scene` is the label of its image and replays it at any size. Lengths
are in units of the image's shorter side, so shapes are never stretched. A shape is a polygon, perhaps with another cut
out of it, in a square from -1 to 1 with y pointing down. Only a handful of points pass through `math`, and all are
rounded to whole pixels of an enlarged mask, so masks are equal on every machine.
"""

import math
import random
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from synth import backgrounds
from synth.backgrounds import Background, Colour

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


COLOURS: Final[dict[str, Colour]] = {
    "red": (215, 35, 40),
    "orange": (250, 135, 15),
    "yellow": (250, 220, 45),
    "green": (40, 155, 65),
    "blue": (35, 85, 215),
    "purple": (130, 55, 180),
    "pink": (250, 135, 185),
    "brown": (125, 75, 40),
    "black": (24, 24, 26),
    "white": (248, 248, 248),
    "grey": (132, 132, 134),
}
"""Every colour, by the name that captions, labels and questions know it by."""

SIZES: Final[dict[str, tuple[float, float]]] = {
    "small": (0.15, 0.19),
    "medium": (0.25, 0.31),
    "large": (0.38, 0.46),
}
"""Least and greatest side of an object, in shares of the shorter side; the gaps keep sizes apart."""

Box = tuple[int, int, int, int]

_DARK: Final = (20, 20, 24)
_LIGHT: Final = (252, 252, 250)


@dataclass(frozen=True, slots=True)
class Object:
    """One object: what it is called, its colour as drawn, its centre, side and turn (degrees)."""

    shape: str
    colour: str
    size: str
    rgb: Colour
    x: float
    y: float
    side: float
    angle: float


@dataclass(frozen=True, slots=True)
class Kit:
    """What scenes are drawn from; fewer shapes and colours make an easier world."""

    shapes: tuple[str, ...] = SHAPES
    colours: tuple[str, ...] = tuple(COLOURS)
    sizes: tuple[str, ...] = tuple(SIZES)
    counts: tuple[int, ...] = (1, 2, 3, 4)

    @property
    def weights(self) -> list[int]:
        """How often each of `counts` is drawn."""
        return [_COUNT_WEIGHTS[count] for count in self.counts]


_COUNT_WEIGHTS: Final = {1: 22, 2: 30, 3: 28, 4: 20}
ALL: Final = Kit()


@dataclass(frozen=True, slots=True)
class Scene:
    """An image before it is drawn; `width` and `height` in shorter sides (one of them is 1)."""

    width: float
    height: float
    background: Background
    objects: tuple[Object, ...]
    kit: Kit = ALL

    def frame(self, longer: int) -> tuple[int, int]:
        """(width, height) in pixels of the scene with its longer side `longer` pixels long."""
        scale = longer / max(self.width, self.height)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


def _paint(rng: random.Random, colour: str) -> Colour:
    """The named colour, a little off: no caption depends on the difference."""
    red, green, blue = COLOURS[colour]
    shift = rng.randint(-6, 6)
    return max(0, min(255, red + shift)), max(0, min(255, green + shift)), max(0, min(255, blue + shift))


def _free(x: float, y: float, side: float, others: list[Object]) -> bool:
    return all(max(abs(x - o.x), abs(y - o.y)) > (side + o.side) / 2 + 0.02 for o in others)


def _place(
    rng: random.Random, size: str, room: tuple[float, float], others: list[Object]
) -> tuple[str, float, float, float] | None:
    """(size, x, y, side) of a free place, of a smaller size where the wanted one finds none."""
    names = list(SIZES)
    for name in reversed(names[: names.index(size) + 1]):
        for _ in range(40):
            side = rng.uniform(*SIZES[name])
            margin = side / 2 + 0.01
            x, y = rng.uniform(margin, room[0] - margin), rng.uniform(margin, room[1] - margin)
            if _free(x, y, side, others):
                return name, x, y, side
    return None


def _kinds(rng: random.Random, count: int, kit: Kit) -> list[tuple[str, str]]:
    """(shape, colour) of each object; some scenes repeat one kind, so that there is what to count."""
    kinds = [(rng.choice(kit.shapes), rng.choice(kit.colours)) for _ in range(count)]
    if count > 1 and rng.random() < 0.35:
        alike = rng.randint(2, count)
        kinds[:alike] = [kinds[0]] * alike
    elif count > 1 and rng.random() < 0.3:
        # same shape in another colour: only the colour tells them apart
        kinds[1] = (kinds[0][0], kinds[1][1])
    return kinds


def draw(rng: random.Random, aspect: float | None = None, count: int | None = None, kit: Kit = ALL) -> Scene:
    """A scene of `count` objects (the kit's when None), `aspect` = width / height (web-like when None).

    No two objects overlap, and each lies within the image; one that finds no room is smaller, or left out.
    """
    if aspect is None:
        aspect = rng.choice(
            (1.0, 4 / 3, 4 / 3, 3 / 2, 3 / 2, 16 / 9, 2.1, 3 / 4, 2 / 3, 9 / 16)
        ) * rng.uniform(0.95, 1.1)
    room = (aspect, 1.0) if aspect >= 1 else (1.0, 1 / aspect)
    objects: list[Object] = []
    for shape, colour in _kinds(rng, count or rng.choices(kit.counts, kit.weights)[0], kit):
        place = _place(rng, rng.choice(kit.sizes), room, objects)
        if place is None:
            break
        size, x, y, side = place
        turn = OUTLINES[shape].turn
        angle = rng.uniform(-turn, turn)
        objects.append(Object(shape, colour, size, _paint(rng, colour), x, y, side, angle))
    ground = backgrounds.draw(rng, tuple(o.rgb for o in objects))
    return Scene(room[0], room[1], ground, tuple(objects), kit)


def _corner(scene: Scene, item: Object, size: tuple[int, int]) -> tuple[int, int, int]:
    """(left, top, side) in pixels of the square that holds an object."""
    scale = min(size[0] / scene.width, size[1] / scene.height)
    side = max(4, round(item.side * scale))
    left = round(item.x / scene.width * size[0] - side / 2)
    top = round(item.y / scene.height * size[1] - side / 2)
    return max(0, min(size[0] - side, left)), max(0, min(size[1] - side, top)), side


def render(scene: Scene, size: tuple[int, int]) -> Image.Image:
    """The scene as an RGB image of `size` = (width, height) pixels; `Scene.frame` gives sizes that fit."""
    image = backgrounds.render(scene.background, *size)
    for item in scene.objects:
        left, top, side = _corner(scene, item, size)
        filling, whole = masks(item.shape, side, item.angle)
        edge = _DARK if sum(item.rgb) > 330 else _LIGHT
        image.paste(edge, (left, top), whole)
        image.paste(item.rgb, (left, top), filling)
    return image


def boxes(scene: Scene, size: tuple[int, int]) -> list[Box]:
    """[x1, y1, x2, y2] of each object in pixels of `render(scene, size)`, tight, x2 and y2 exclusive.

    Taken from the masks themselves: a pixel belongs to an object that covers at least half of it.
    """
    found: list[Box] = []
    for item in scene.objects:
        left, top, side = _corner(scene, item, size)
        _, whole = masks(item.shape, side, item.angle)
        inner = whole.point(lambda value: 255 if value >= 128 else 0).getbbox() or (0, 0, side, side)
        found.append((left + inner[0], top + inner[1], left + inner[2], top + inner[3]))
    return found


def relation(a: Object, b: Object) -> str | None:
    """`left`, `right`, `above` or `below`: where `a` is seen from `b`; None where it is not plain.

    Plain means clear of each other along that axis, and farther apart along it than across.
    """
    dx, dy = b.x - a.x, b.y - a.y
    gap = (a.side + b.side) / 2
    if abs(dx) > 1.5 * abs(dy) and abs(dx) > gap:
        return "left" if dx > 0 else "right"
    if abs(dy) > 1.5 * abs(dx) and abs(dy) > gap:
        return "above" if dy > 0 else "below"
    return None
