"""Backgrounds behind drawn objects: their parameters, then their pixels.

Pixels come from additions, multiplications and table look-ups alone: a sine or an exponential of
numpy may differ in its last bit from one processor to the next, and a crawl is promised byte by byte.
"""

import random
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synth import photos

Colour = tuple[int, int, int]

GROUNDS: Final = ("gradient", "stripes", "checks", "dots", "clouds", "photo")
"""The kinds of background, by the names under which synth/words knows them."""

_WEIGHTS: Final = (18, 18, 14, 14, 20, 16)


@dataclass(frozen=True, slots=True)
class Background:
    """What determines a background: its kind, three colours, a direction, a period (both in shares
    of the shorter side), a phase, the seed of its grain, and the photograph where it shows one."""

    kind: str
    colours: tuple[Colour, Colour, Colour]
    direction: tuple[float, float]
    period: float
    phase: float
    grain: int
    photo: photos.Crop | None = None


def _distance(a: Colour, b: Colour) -> int:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


def _light(colour: Colour) -> int:
    return (2 * colour[0] + 5 * colour[1] + colour[2]) // 8


def _colour(rng: random.Random, avoid: tuple[Colour, ...], beside: tuple[Colour, ...] = ()) -> Colour:
    """A colour that no object on it would be lost against, lighter or darker than those `beside` it."""
    for _ in range(40):
        level = rng.randint(30, 235)
        red, green, blue = (max(0, min(255, level + rng.randint(-60, 60))) for _ in range(3))
        colour = red, green, blue
        if all(_distance(colour, other) > 150 for other in avoid) and all(
            abs(_light(colour) - _light(other)) > 45 for other in beside
        ):
            break
    return colour


def draw(rng: random.Random, avoid: tuple[Colour, ...] = ()) -> Background:
    """A background whose colours keep away from those in `avoid`."""
    kind = rng.choices(GROUNDS, _WEIGHTS)[0]
    first = _colour(rng, avoid)
    second = _colour(rng, avoid, (first,))
    return Background(
        kind=kind,
        colours=(first, second, _colour(rng, avoid, (first,))),
        direction=(rng.uniform(-1, 1), rng.uniform(-1, 1)),
        period=rng.uniform(0.12, 0.7) if kind == "stripes" else rng.uniform(0.12, 0.3),
        phase=rng.random(),
        grain=rng.getrandbits(64),
        photo=photos.draw(rng, whole=False) if kind == "photo" else None,
    )


def _mesh(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of every pixel, in units of the shorter side."""
    short = min(width, height)
    return np.arange(width)[None, :] / short, np.arange(height)[:, None] / short


def _ramp(ground: Background, width: int, height: int) -> NDArray[np.float64]:
    """(height, width), 0 to 1: the place of each pixel along the background's direction."""
    x, y = _mesh(width, height)
    along = x * ground.direction[0] + y * ground.direction[1]
    low, high = float(along.min()), float(along.max())
    return (along - low) / max(high - low, 1e-6)


def _grain(seed: int, width: int, height: int, cells: int) -> NDArray[np.float64]:
    """(height, width), 0 to 1: soft blotches, `cells` along the shorter side."""
    short = min(width, height)
    across, down = max(2, cells * width // short), max(2, cells * height // short)
    noise = np.frombuffer(random.Random(seed).randbytes(across * down), np.uint8).reshape(down, across)
    grown = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(grown, np.float64) / 255


def _choice(ground: Background, width: int, height: int) -> NDArray[np.float64]:
    """(height, width), 0 to 1: how far each pixel is from the first colour to the second."""
    if ground.kind == "gradient":
        return _ramp(ground, width, height)
    if ground.kind == "clouds":
        coarse = _grain(ground.grain, width, height, 3)
        fine = _grain(ground.grain + 1, width, height, 9)
        return 0.7 * coarse + 0.3 * fine
    x, y = _mesh(width, height)
    (dx, dy), period = ground.direction, ground.period
    if ground.kind == "stripes":
        length = max(abs(dx) + abs(dy), 0.2)
        along = (x * dx + y * dy) / length / period + ground.phase
        return (along % 1.0 < 0.5).astype(np.float64)
    column, row = x / period + ground.phase, y / period + ground.phase * 3 % 1
    if ground.kind == "checks":
        return ((np.floor(column) + np.floor(row)) % 2).astype(np.float64)
    return ((column % 1 - 0.5) ** 2 + (row % 1 - 0.5) ** 2 < 0.045).astype(np.float64)


def _mask(share: NDArray[np.float64]) -> Image.Image:
    """Shares from 0 to 1 as a grey image."""
    return Image.fromarray((share * 255 + 0.5).astype(np.uint8))


def render(ground: Background, width: int, height: int) -> Image.Image:
    """The background as an RGB image of width x height pixels."""
    if ground.photo is not None:
        return photos.render(ground.photo, width, height)
    first, second, third = (Image.new("RGB", (width, height), colour) for colour in ground.colours)
    plain = Image.composite(second, first, _mask(_choice(ground, width, height)))
    # a second, softer layer: no two backgrounds of one kind shade the image alike
    cells, depth = (3, 0.5) if ground.kind == "gradient" else (5, 0.55)
    return Image.composite(third, plain, _mask(_grain(ground.grain + 2, width, height, cells) * depth))
