"""The pixels of a page: paper and background, the way of a point from the document to the page, and effects.

Images are (height, width, 3) uint8, RGB. Noise comes from bytes of `random.Random` and a table, so no version of
numpy changes it. `Warp` gives one map for pixels (page to document, as cv2.remap wants it) and its inverse for the
corners of quads (document to page), so that truth and image go through the same arithmetic.
"""

import math
import random
import struct
from functools import lru_cache
from io import BytesIO
from statistics import NormalDist
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from synth import backgrounds
from synth.page.layout import Colour, Corners, Effects
from synth.seeds import generator

Pixels = NDArray[np.uint8]
_COARSE: Final = 8


def apply(pixels: Pixels, effects: Effects) -> Pixels:
    """The effects of the whole page, in SynthDoG's order."""
    if effects.tint is not None:
        pixels = _tinted(pixels, *effects.tint)
    pixels = _shadowed(pixels, *effects.shadow)
    pixels = _levels(pixels, effects.contrast, effects.brightness)
    if effects.motion is not None:
        pixels = _moved(pixels, *effects.motion)
    return blurred(pixels, effects.blur)


@lru_cache(maxsize=1)
def _normal() -> NDArray[np.float64]:
    """The middles of 256 equally likely slices of the normal distribution."""
    return np.array([NormalDist().inv_cdf((at + 0.5) / 256) for at in range(256)])


def noised(pixels: Pixels, scale: float, seed: int) -> Pixels:
    """With the same normal noise of `scale` grey levels on all three channels."""
    table = np.rint(_normal() * scale).astype(np.int16)
    if not table.any():
        return pixels
    height, width = pixels.shape[:2]
    noise = table[np.frombuffer(random.Random(seed).randbytes(width * height), np.uint8)]
    grain = cv2.merge([noise.reshape(height, width)] * 3)
    return _bytes(cv2.add(pixels, grain, dtype=cv2.CV_8U))


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """With a Gaussian blur; what is too weak to show is left out."""
    return _bytes(cv2.GaussianBlur(pixels, (0, 0), sigma)) if sigma > 0.2 else pixels


def _tinted(pixels: Pixels, colour: Colour, alpha: float) -> Pixels:
    levels = np.arange(256)[:, None] * (1 - alpha) + np.array(colour)[None, :] * alpha
    return _bytes(cv2.LUT(pixels, np.rint(levels).astype(np.uint8)[None]))


def _levels(pixels: Pixels, contrast: float, brightness: int) -> Pixels:
    levels = np.clip(np.rint(127 + contrast * (np.arange(256) - 127)), 0, 255) + brightness
    return _bytes(cv2.LUT(pixels, np.clip(levels, 0, 255).astype(np.uint8)))


def _shadowed(pixels: Pixels, intensity: int, amount: float, smoothing: float, turn: float) -> Pixels:
    """Darker towards one side: from full shadow to none over a ramp, `smoothing` of what is shaded."""
    if intensity <= 0 or amount <= 0:
        return pixels
    height, width = pixels.shape[:2]
    across, down = round(math.cos(turn * math.tau), 6), round(math.sin(turn * math.tau), 6)
    x = np.linspace(0, 1, max(width // _COARSE, 2))[None, :]
    y = np.linspace(0, 1, max(height // _COARSE, 2))[:, None]
    along = (x - 0.5) * across + (y - 0.5) * down
    along = (along - along.min()) / max(float(along.max() - along.min()), 1e-6)
    shade = np.clip((amount - along) / max(amount * smoothing, 1e-6), 0, 1)
    light = np.rint(255 - intensity * shade).astype(np.uint8)
    grown = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
    return _bytes(cv2.multiply(pixels, cv2.merge([grown] * 3), scale=1 / 255))


def _moved(pixels: Pixels, length: int, turn: float) -> Pixels:
    """Smeared along a line of `length` pixels."""
    across, down = math.cos(turn * math.tau), math.sin(turn * math.tau)
    kernel = np.zeros((length, length))
    middle = (length - 1) / 2
    for step in np.linspace(-middle, middle, 4 * length):
        x, y = middle + step * across, middle + step * down
        left, top = min(int(x), length - 2), min(int(y), length - 2)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = abs(1 - column - (x - left)) * abs(1 - row - (y - top))
            kernel[top + row, left + column] += weight
    kernel = np.rint(kernel / kernel.sum() * 4096) / 4096
    return _bytes(cv2.filter2D(pixels, -1, (kernel / kernel.sum()).astype(np.float32)))


def _bytes(pixels: object) -> Pixels:
    return np.asarray(pixels, np.uint8)


Floats = NDArray[np.float32]
_STEPS: Final = 12


def homography(corners: Corners, width: float, height: float) -> NDArray[np.float64]:
    """(3, 3): carries the corners of a width x height rectangle to `corners`.

    Heckbert's closed form (Fundamentals of Texture Mapping, 1989): no solver, the same bits anywhere.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    below = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / below, (dx1 * sy - sx * dy1) / below
    square = np.array(
        [[x1 - x0 + g * x1, x3 - x0 + h * x3, x0], [y1 - y0 + g * y1, y3 - y0 + h * y3, y0], [g, h, 1.0]]
    )
    scaled: NDArray[np.float64] = square / np.array([width, height, 1.0])
    return scaled


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse up to a factor, which a homography does not mind: the adjugate."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    return np.array(
        [
            [e * i - f * h, c * h - b * i, b * f - c * e],
            [f * g - d * i, a * i - c * g, c * d - a * f],
            [d * h - e * g, b * g - a * h, a * e - b * d],
        ]
    )


def elastic_field(
    width: int, height: int, alpha: float, sigma: float, seed: int
) -> tuple[Floats, Floats] | None:
    """(dx, dy), each (height, width) float32 in pixels: smoothed noise up to `alpha`; None for none."""
    if alpha <= 0:
        return None
    rng = random.Random(seed)
    table = ((np.arange(256, dtype=np.float32) - 127.5) * np.float32(alpha / 127.5)).astype(np.float32)
    fields = []
    for _ in range(2):
        noise = np.frombuffer(rng.randbytes(width * height), np.uint8).reshape(height, width)
        field: Floats = table[noise]
        fields.append(
            np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32) if sigma > 0.2 else field
        )
    return fields[0], fields[1]


class Warp:
    """The geometry of one page: `width` and `height` are the page's, `document` the drawn sheet's."""

    def __init__(
        self,
        corners: Corners,
        document: tuple[int, int],
        page: tuple[int, int],
        field: tuple[Floats, Floats] | None = None,
    ) -> None:
        self._forward = homography(corners, *document)
        self._back = _inverse(self._forward)
        self._page = page
        self._field = field

    def maps(self) -> tuple[Floats, Floats]:
        """For each pixel of the page, x and y in the document, both (height, width) float32.

        Pixel centres lie at half numbers in the quads' coordinates and at whole ones in cv2's.
        """
        width, height = self._page
        m = self._back / self._back[2, 2]
        x = (np.arange(width) + 0.5)[None, :]
        y = (np.arange(height) + 0.5)[:, None]
        below = (m[2, 0] * x + (m[2, 1] * y + m[2, 2])).astype(np.float32)
        across = (m[0, 0] * x + (m[0, 1] * y + m[0, 2])).astype(np.float32) / below - np.float32(0.5)
        down = (m[1, 0] * x + (m[1, 1] * y + m[1, 2])).astype(np.float32) / below - np.float32(0.5)
        if self._field is not None:
            across, down = across + self._field[0], down + self._field[1]
        return across, down

    def forward(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) points of the document as points of the page.

        A page pixel p shows the document at back(p) + d(p), so p = forward(q - d(p)): a fixed point,
        reached in a few steps for distortions that do not fold.
        """
        first = self._project(points)
        if self._field is None:
            return first
        found = first
        for _ in range(_STEPS):
            found = self._project(points - self._shift(found))
        return found

    def _project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        m = self._forward
        below = points[:, 0] * m[2, 0] + points[:, 1] * m[2, 1] + m[2, 2]
        across = (points[:, 0] * m[0, 0] + points[:, 1] * m[0, 1] + m[0, 2]) / below
        down = (points[:, 0] * m[1, 0] + points[:, 1] * m[1, 1] + m[1, 2]) / below
        return np.stack([across, down], axis=1)

    def _shift(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The distortion at points of the page, between its pixels by bilinear interpolation."""
        assert self._field is not None
        width, height = self._page
        x = np.clip(points[:, 0] - 0.5, 0, width - 1)
        y = np.clip(points[:, 1] - 0.5, 0, height - 1)
        left = np.minimum(np.floor(x), max(width - 2, 0)).astype(np.intp)
        top = np.minimum(np.floor(y), max(height - 2, 0)).astype(np.intp)
        return np.stack([_between(field, left, top, x - left, y - top) for field in self._field], axis=1)


def _between(field: Floats, left: Any, top: Any, x: Any, y: Any) -> NDArray[np.float64]:
    right, below = np.minimum(left + 1, field.shape[1] - 1), np.minimum(top + 1, field.shape[0] - 1)
    upper = field[top, left] * (1 - x) + field[top, right] * x
    lower = field[below, left] * (1 - x) + field[below, right] * x
    mixed: NDArray[np.float64] = upper * (1 - y) + lower * y
    return mixed


_LAYERS: Final = ((5, 0.35), (40, 0.25), (300, 0.4))
_SHRINK: Final = 4
_MAX_PIXELS: Final = 50_000_000
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_BROKEN: Final = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    ArithmeticError,
    TypeError,
    struct.error,
)
"""What Pillow's decoders raise for damaged images."""


class Images(Protocol):
    """Encoded images to lie behind a page, by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> bytes: ...


def sheet(width: int, height: int, alpha: float, seed: int) -> Pixels:
    """(height, width, 3): white paper, darkened by up to `alpha` with blotches, clouds and fibres."""
    rng = random.Random(seed)
    texture = np.zeros((height, width), np.float32)
    for cells, share in _LAYERS:
        across, down = (max(2, min(side, cells * side // max(width, height))) for side in (width, height))
        noise = np.frombuffer(rng.randbytes(across * down), np.uint8).reshape(down, across)
        grown = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        texture += grown.astype(np.float32) * np.float32(share)
    grey = np.rint(255 - np.float32(alpha) * (255 - texture)).astype(np.uint8)
    return np.asarray(cv2.merge([grey] * 3), np.uint8)


def background(size: tuple[int, int], choice: tuple[float, float, int], pictures: Images = ()) -> Pixels:
    """(height, width, 3): one of `pictures`, or a drawn one where there are none, blurred.

    `choice` is (place among the images in [0, 1), blur's sigma, seed). An image that cannot be read
    is replaced by a drawn one: a page does not depend on what it lies on.
    """
    share, sigma, seed = choice
    picture = _picture(pictures[int(share * len(pictures))], size, seed) if pictures else None
    return blurred(_drawn(size, seed) if picture is None else picture, sigma)


def _drawn(size: tuple[int, int], seed: int) -> Pixels:
    """Drawn small and grown: it is blurred anyway."""
    width, height = size
    ground = backgrounds.draw(generator(seed, "page background"))
    small = backgrounds.render(ground, max(width // _SHRINK, 2), max(height // _SHRINK, 2))
    grown = cv2.resize(np.asarray(small), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown, np.uint8)


def _picture(data: bytes, size: tuple[int, int], seed: int) -> Pixels | None:
    """A crop of the image at random, in the page's shape; None where it is no image."""
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            image.draft("RGB", size)
            colour = image.convert("RGB")
    except _BROKEN:
        return None
    scale = min(colour.width / size[0], colour.height / size[1])
    wide, high = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    rng = random.Random(seed)
    left, top = rng.randint(0, colour.width - wide), rng.randint(0, colour.height - high)
    part = np.asarray(colour)[top : top + high, left : left + wide]
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8)
