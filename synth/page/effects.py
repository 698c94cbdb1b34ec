"""What happens to pixels without moving them: noise, tint, shadow, contrast, blur.

Pictures are (height, width, 3) uint8, RGB. Noise comes from bytes of `random.Random` and a table, so
no version of numpy changes it.
"""

import math
import random
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.page.draw import Colour, Effects

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
