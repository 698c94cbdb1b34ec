"""Words on natural images: signs, plates and captions that stand in a scene rather than on a sheet."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import InputError
from synth import photos
from synth.page import effects, fonts, typeset
from synth.page.effects import homography
from synth.page.layout import Block, Box, Cell, Colour, Corners
from synth.page.maker import Page, PageSettings, encoded, recorded, supplies
from synth.page.typeset import truth_of
from synth.seeds import generator
from synth.text import Reader

_SIDE: Final = (480, 1024)
_SIZES: Final = (22, 90)
_TRIES: Final = 24
_APART: Final = 0.06
_MOST: Final = 6
_WORDS_TRIED: Final = 8


@dataclass(frozen=True, slots=True)
class Sign:
    """A text to be: where it may stand is drawn too, in shares of the image, best of several."""

    face: float
    size: int
    length: int  # in units of its size
    places: tuple[tuple[float, float], ...]
    slant: float  # of its baseline, in pixels a pixel
    lean: tuple[float, ...]  # how its corners are drawn in, in shares of its height
    style: str
    hue: Colour


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that determines an image apart from text, fonts and the images at hand."""

    width: int
    height: int
    quality: int
    background: tuple[float, float, int]
    signs: tuple[Sign, ...]
    noise: tuple[float, int]
    blur: float
    text: int


def draw(rng: random.Random) -> Scene:
    """A scene drawn at random."""
    short = rng.randint(*_SIDE)
    long = int(short * rng.uniform(1, 1.8))
    width, height = (long, short) if rng.random() < 0.6 else (short, long)
    return Scene(
        width=width,
        height=height,
        quality=rng.randint(70, 95),
        background=(rng.random(), 0.0, rng.getrandbits(32)),
        signs=tuple(_sign(rng, short) for _ in range(rng.randint(1, _MOST))),
        noise=(rng.uniform(0, 4), rng.getrandbits(32)),
        blur=rng.uniform(0, 0.8),
        text=rng.getrandbits(32),
    )


def _sign(rng: random.Random, short: int) -> Sign:
    size = rng.randint(_SIZES[0], min(_SIZES[1], short // 7))
    return Sign(
        face=rng.random(),
        size=size,
        length=rng.randint(4, 12),
        places=tuple((rng.random(), rng.random()) for _ in range(_TRIES)),
        slant=rng.uniform(-0.22, 0.22) if rng.random() < 0.6 else 0.0,
        lean=tuple(rng.uniform(0, 0.18) for _ in range(8)),
        style=rng.choice(("plain", "plain", "outline", "plate")),
        hue=(rng.randrange(256), rng.randrange(256), rng.randrange(256)),
    )


class SceneMaker:
    """Makes images with words in one language, `page(index)` a function of the settings and index alone.

    `pictures` are encoded images; without any, crops of scikit-image's photographs serve.
    Raises InputError where no text or no font serves the language, or for text set vertically.
    """

    def __init__(
        self,
        settings: PageSettings,
        passages: Sequence[str] = (),
        pictures: effects.Images = (),
        found: fonts.Fonts | None = None,
    ) -> None:
        self.settings = settings
        self._pictures = pictures
        self._direction = typeset.direction(settings.direction, settings.language)
        if self._direction == "vertical":
            raise InputError("words in scenes are set along a line: direction vertical is for pages")
        self._passages, self.faces = supplies(settings.language, passages, found)

    def page(self, index: int) -> Page:
        """The image of this index; a text that finds no free place is left out."""
        language = self.settings.language
        drawn = draw(generator(self.settings.seed, f"scene text {language}", index))
        pixels = self._ground(drawn)
        reader = Reader(self._passages, generator(drawn.text, "scene text words"))
        free = np.ones(pixels.shape[:2], np.bool_)
        lines, shown = [], []
        for sign in drawn.signs:
            line, size = self._line(sign, reader, drawn.width)
            corners = _place(sign, size, pixels, free) if line else None
            if line is None or corners is None:
                continue
            matrix = homography(corners, *size)
            line, known = truth_of(line, partial(_carried, matrix), (drawn.width, drawn.height))
            if known is not None:
                _paint(pixels, line, sign, size, matrix)
                lines.append(known)
                shown.append(line)
        pixels = effects.blurred(effects.noised(pixels, *drawn.noise), drawn.blur)
        record = recorded("scene", self._direction, drawn, shown)
        image = encoded(pixels, drawn.quality)
        kept = sorted(lines, key=lambda line: (line.quad[0][1], line.quad[0][0]))
        return Page(image, drawn.width, drawn.height, tuple(kept), language, record)

    def _ground(self, drawn: Scene) -> effects.Pixels:
        size = drawn.width, drawn.height
        if self._pictures:
            return np.array(effects.background(size, drawn.background, self._pictures))
        crop = photos.draw(generator(drawn.background[2], "scene photo"), whole=False)
        return np.array(photos.render(crop, *size))

    def _line(self, sign: Sign, reader: Reader, width: int) -> tuple[typeset.Line | None, tuple[int, int]]:
        """The text of a sign on a patch of its own, and that patch's size."""
        high = round(sign.size * 1.25)
        cell = Cell(high / 4, high / 8, min(sign.size * sign.length, 0.7 * width), high, "left")
        blocks = (Block(sign.face, (Box(cell, 1.0, (0, 0, 0)),)),) * _WORDS_TRIED
        setter = typeset.Setter(self.faces, self._direction, self.settings.characters)
        line = next(setter.lines(blocks, reader), None)
        if line is None:
            return None, (0, 0)
        return line, (round(line.bounds[2] + high / 4), round(high * 1.25))


def _place(
    sign: Sign, size: tuple[int, int], pixels: effects.Pixels, free: NDArray[np.bool_]
) -> Corners | None:
    """The corners of the quietest free place among those drawn, and takes it; None where none is free."""
    height, width = free.shape
    wide, high = size
    rise = round(abs(sign.slant) * wide)
    room_x, room_y = width - wide - 2, height - high - rise - 2
    if room_x < 0 or room_y < 0:
        return None
    best: tuple[float, int, int] | None = None
    for across, down in sign.places:
        x, y = 1 + int(across * room_x), 1 + int(down * room_y)
        spot = slice(y, y + high + rise), slice(x, x + wide)
        if not free[spot].all():
            continue
        unrest = float(pixels[spot].astype(np.float32).std())
        if best is None or unrest < best[0]:
            best = unrest, x, y
    if best is None:
        return None
    _, x, y = best
    gap = round(_APART * min(width, height) / 2)
    free[max(y - gap, 0) : y + high + rise + gap, max(x - gap, 0) : x + wide + gap] = False
    left, right = (0, rise) if sign.slant > 0 else (rise, 0)
    a, b, c, d, e, f, g, h = (share * high for share in sign.lean)
    return (
        (x + a, y + left + b),
        (x + wide - c, y + right + d),
        (x + wide - e, y + right + high - f),
        (x + g, y + left + high - h),
    )


def _paint(
    pixels: effects.Pixels,
    line: typeset.Line,
    sign: Sign,
    size: tuple[int, int],
    matrix: NDArray[np.float64],
) -> None:
    """Draws the sign onto the image in place: plate or outline first, then the letters."""
    shape = pixels.shape[1], pixels.shape[0]
    # cv2 counts from the middle of the first pixel, quads from its corner
    shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    back = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    letters = Image.new("RGB", size)
    typeset.ink(letters, [replace(line, colour=(255, 255, 255))])
    alpha = np.asarray(letters.convert("L"))

    def laid(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
        warped = cv2.warpPerspective(mask, shift @ matrix @ back, shape, flags=cv2.INTER_LINEAR)
        return np.asarray(warped, np.float32)[..., None] / np.float32(255)

    under = laid(np.full((size[1], size[0]), 255, np.uint8))
    ground = (pixels * under).sum(axis=(0, 1)) / max(float(under.sum()), 1.0)
    if sign.style == "plate":
        ground = np.array(sign.hue, np.float64)
        _blend(pixels, under, ground)
    colour = _contrast(ground, sign.hue)
    if sign.style == "outline":
        reach = max(3, line.size // 8) | 1
        grown = cv2.dilate(alpha, np.ones((reach, reach), np.uint8))
        _blend(pixels, laid(np.asarray(grown, np.uint8)), 255.0 - colour)
    _blend(pixels, laid(alpha), colour)


def _blend(pixels: effects.Pixels, share: NDArray[np.float32], colour: NDArray[np.float64]) -> None:
    pixels[...] = np.rint(pixels * (1 - share) + colour.astype(np.float32) * share).astype(np.uint8)


def _contrast(ground: NDArray[np.float64], hue: Colour) -> NDArray[np.float64]:
    """A shade of `hue`, far lighter than `ground` or far darker."""
    light = float(ground @ np.array([0.3, 0.59, 0.11]))
    far = 0.0 if light > 120 else 255.0
    return np.array([round(0.8 * far + 0.2 * part) for part in hue], np.float64)


def _carried(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return places[:, :2] / places[:, 2:]
