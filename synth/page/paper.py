"""What lies behind the text: sheets of paper, and the background the sheet lies on."""

import random
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Final

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from synth import backgrounds
from synth.page.effects import Pixels, blurred
from synth.seeds import generator

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
"""What Pillow's decoders raise for damaged pictures."""


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


def background(
    size: tuple[int, int], choice: tuple[float, float, int], pictures: Sequence[bytes] = ()
) -> Pixels:
    """(height, width, 3): one of `pictures`, or a drawn one where there are none, blurred.

    `choice` is (place among the pictures in [0, 1), blur's sigma, seed). A picture that cannot be read
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
    """A crop of the picture at random, in the page's shape; None where it is no picture."""
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
