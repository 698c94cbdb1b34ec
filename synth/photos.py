"""Crops and pairs of the photographs that come inside scikit-image's wheel.

Only photographs whose notice allows any use are taken: docs/demo.md and NOTICE name licence and author of each.
Those without a stated licence (moon, page, the motorcycle pair, the faces, the logo, the colour wheel) are left out.
Nothing is downloaded, and scikit-image itself is never imported: its folder is found, files are read.
"""

import importlib.util
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image

from schemas.errors import InputError, missing

Region = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph: its file, and the region that a crop must hold for the captions to stay true (None:
    any crop of a third of each side will do)."""

    file: str
    subject: Region | None = None


PHOTOS: Final[dict[str, Photo]] = {
    "astronaut": Photo("astronaut.png", (0.24, 0.03, 0.66, 0.62)),
    "brick": Photo("brick.png"),
    "camera": Photo("camera.png", (0.15, 0.08, 0.62, 0.68)),
    "cell": Photo("cell.png", (0.54, 0.44, 0.94, 0.72)),
    "chelsea": Photo("chelsea.png", (0.22, 0.16, 0.74, 0.86)),
    "clock": Photo("clock_motion.png", (0.34, 0.28, 0.72, 0.72)),
    "coffee": Photo("coffee.png", (0.26, 0.05, 0.70, 0.66)),
    "coins": Photo("coins.png", (0.3, 0.3, 0.7, 0.7)),
    "grass": Photo("grass.png"),
    "gravel": Photo("gravel.png"),
    "galaxies": Photo("hubble_deep_field.jpg"),
    "tissue": Photo("ihc.png"),
    "retina": Photo("retina.jpg", (0.3, 0.3, 0.7, 0.7)),
    "rocket": Photo("rocket.jpg", (0.4, 0.24, 0.62, 0.96)),
}
"""Every photograph in use, by the name under which synth/words has captions for it."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a photograph in shares of its sides (x1, y1, x2, y2), mirrored or not."""

    name: str
    region: Region
    mirrored: bool


@lru_cache(maxsize=1)
def folder() -> Path:
    """The folder of scikit-image's photographs. Raises InputError where it is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(missing("the demo crawl", "scikit-image"))
    return Path(next(iter(spec.submodule_search_locations))) / "data"


@lru_cache(maxsize=len(PHOTOS))
def _load(name: str) -> Image.Image:
    """A photograph as RGB, at most 1024 pixels long."""
    with Image.open(folder() / PHOTOS[name].file) as image:
        colour = image.convert("RGB")
    colour.thumbnail((1024, 1024), Image.Resampling.BICUBIC)
    return colour


def draw(rng: random.Random, whole: bool = True) -> Crop:
    """A crop of a photograph drawn at random; with `whole` its subject lies within, else anywhere."""
    name = rng.choice(tuple(PHOTOS))
    subject = PHOTOS[name].subject if whole else None
    if subject is None:
        width, height = rng.uniform(0.36, 0.85), rng.uniform(0.36, 0.85)
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        return Crop(name, (x, y, x + width, y + height), rng.random() < 0.5)
    x1, y1, x2, y2 = subject
    region = (rng.uniform(0, x1), rng.uniform(0, y1), rng.uniform(x2, 1), rng.uniform(y2, 1))
    return Crop(name, region, rng.random() < 0.5)


def aspect(crop: Crop) -> float:
    """Width over height of a crop in pixels."""
    image = _load(crop.name)
    x1, y1, x2, y2 = crop.region
    return (x2 - x1) * image.width / ((y2 - y1) * image.height)


def render(crop: Crop, width: int, height: int) -> Image.Image:
    """The crop as an RGB image of width x height pixels, cut down about its middle to that shape."""
    image = _load(crop.name)
    x1, y1, x2, y2 = crop.region
    box_w, box_h = (x2 - x1) * image.width, (y2 - y1) * image.height
    scale = min(box_w / width, box_h / height)
    left = x1 * image.width + (box_w - width * scale) / 2
    top = y1 * image.height + (box_h - height * scale) / 2
    box = (left, top, min(image.width, left + width * scale), min(image.height, top + height * scale))
    part = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.mirrored else part


@dataclass(frozen=True, slots=True)
class Pair:
    """Two crops in one image: the second to the right of the first, or below it."""

    first: Crop
    second: Crop
    side_by_side: bool


def draw_pair(rng: random.Random) -> Pair:
    """Crops of two different photographs."""
    first = draw(rng)
    second = draw(rng)
    while second.name == first.name:
        second = draw(rng)
    return Pair(first, second, rng.random() < 0.6)


def halves(pair: Pair, longer: int) -> list[tuple[int, int]]:
    """(width, height) in pixels of both parts: joined, their longer side measures `longer`.

    The parts keep the shapes of their crops: cutting them could cut away what captions speak of.
    """
    shapes = [aspect(pair.first), aspect(pair.second)]
    lengths = shapes if pair.side_by_side else [1 / shape for shape in shapes]
    across = longer / max(sum(lengths), 1.0)
    parts = [(round(length * across), round(across)) for length in lengths]
    return parts if pair.side_by_side else [(height, width) for width, height in parts]


def render_pair(pair: Pair, longer: int) -> Image.Image:
    """Both crops beside each other, or one above the other, as one RGB image."""
    (w1, h1), (w2, h2) = halves(pair, longer)
    size = (w1 + w2, h1) if pair.side_by_side else (w1, h1 + h2)
    image = Image.new("RGB", size)
    image.paste(render(pair.first, w1, h1), (0, 0))
    image.paste(render(pair.second, w2, h2), (w1, 0) if pair.side_by_side else (0, h1))
    return image
