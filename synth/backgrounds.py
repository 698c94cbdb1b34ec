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


def _colour(rng: random.Random, avoid: tuple[Colour, ...]) -> Colour:
    """A colour that no object on it would be lost against."""
    best: Colour = (200, 200, 200)
    for _ in range(40):
        level = rng.randint(30, 235)
        best = tuple(max(0, min(255, level + rng.randint(-60, 60))) for _ in range(3))  # type: ignore[assignment]
        if all(_distance(best, other) > 150 for other in avoid):
            break
    return best


def draw(rng: random.Random, avoid: tuple[Colour, ...] = ()) -> Background:
    """A background whose colours keep away from those in `avoid`."""
    kind = rng.choices(GROUNDS, _WEIGHTS)[0]
    return Background(
        kind=kind,
        colours=(_colour(rng, avoid), _colour(rng, avoid), _colour(rng, avoid)),
        direction=(rng.uniform(-1, 1), rng.uniform(-1, 1)),
        period=rng.uniform(0.12, 0.7) if kind == "stripes" else rng.uniform(0.12, 0.45),
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


def render(ground: Background, width: int, height: int) -> Image.Image:
    """The background as an RGB image of width x height pixels."""
    if ground.photo is not None:
        return photos.render(ground.photo, width, height)
    first, second, third = (np.asarray(colour, np.float64) for colour in ground.colours)
    share = _choice(ground, width, height)[..., None]
    pixels = first * (1 - share) + second * share
    # a second, softer layer: no two backgrounds of one kind shade the picture alike
    shade = _grain(ground.grain + 2, width, height, 4)[..., None] * 0.45
    pixels = pixels * (1 - shade) + third * shade
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
