"""Perceptual hashes: 64 bits an image, equal bit for bit to imagehash's `phash`, of a 32 x 32 grey thumbnail.

The thumbnail is bit for bit Pillow's LANCZOS, made several times faster. Pillow resizes 8-bit images
in integers: first every line, then every column; weights are rounded to 22 bits, each sum is rounded
and clipped to 0-255 (Resample.c). A sum of products of an 8-bit and a 22-bit number is exact in a
float64 whatever the order of adding, so the same result comes from BLAS, which is vectorised where
Pillow's loop is not: 0.16 ms against 0.66 ms for an image of 500 x 375. The weights are read out of
Pillow itself: one resize of an integer comb gives every one of them, so sine and rounding are
Pillow's own on every platform.
"""

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

LOW: Final = 8
"""Of the 32 x 32 frequencies the lowest 8 x 8 make the hash."""


def phash(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(N,) hashes of (N, 32, 32) grey thumbnails: `int(str(imagehash.phash(image)), 16)` for each.

    imagehash's own steps over a whole batch: a bit for each low frequency above their median, first bit highest.
    """
    return bits_of(frequencies(thumbnails)[:, :LOW, :LOW].reshape(len(thumbnails), LOW * LOW))


def frequencies(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Returns the unnormalised DCT-II of (N, 32, 32) thumbnails along lines, then along columns.

    Along lines first, and with scipy's old `fftpack` interface, because last bits decide about blank images.
    """
    # here, since scipy would be a fifth of what every command takes to start
    from scipy.fftpack import dct

    found: npt.NDArray[np.float64] = dct(dct(thumbnails, axis=1), axis=2)
    return found


def bits_of(low: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Returns (N,) hashes of (N, 64) low frequencies: a bit for each above their median, first bit highest."""
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)


SIDE: Final = 32
LEAST_SIDE: Final = 64
"""Below this Pillow itself is as fast; it also has a path of its own for a side of 32."""
MOST_SIDE: Final = 8192
"""Above this Pillow does it: the comb below takes 0.75 bytes times the square of a side."""

Grey = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.float64]
Block = tuple[int, int, int, Weights]

_BITS: Final = 22
_BLOCK: Final = 16  # output columns for one product: wide enough for BLAS, narrow enough to skip zeros
_LINES: Final = 128  # lines converted to float64 at once: they stay in the cache, and memory stays flat


def thumbnail(grey: Grey) -> Grey:
    """(32, 32) uint8: an 8-bit picture, (H, W), as Pillow's `resize((32, 32), LANCZOS)` shrinks it."""
    height, width = grey.shape
    if min(height, width) < LEAST_SIDE or max(height, width) > MOST_SIDE:
        return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    narrow = np.empty((height, SIDE))
    blocks = _weights(width)
    for top in range(0, height, _LINES):
        lines = grey[top : top + _LINES].astype(np.float64)
        for out, first, last, weights in blocks:
            np.matmul(lines[:, first:last], weights, out=narrow[top : top + _LINES, out : out + _BLOCK])
    _round(narrow)
    small = np.empty((SIDE, SIDE))
    for out, first, last, weights in _weights(height):
        np.matmul(weights.T, narrow[first:last], out=small[out : out + _BLOCK])
    _round(small)
    return small.astype(np.uint8)


def _round(sums: Weights) -> None:
    """Pillow's clip8, in place: add a half, shift the fraction out, clip."""
    sums += 1 << (_BITS - 1)
    sums *= 2.0**-_BITS
    np.floor(sums, out=sums)
    np.clip(sums, 0, 255, out=sums)


def _weights(size: int) -> list[Block]:
    """`_blocks`, remembered: 0.15 kB times the size each, so fewer of the large ones."""
    return _common(size) if size <= 1024 else _rare(size)


def _blocks(size: int) -> list[Block]:
    """(first output, first input, past the last input, weights (inputs, 16)) that shrink `size` to 32.

    A comb of impulses of 2**22, spaced wider than any window, is resized once in integers
    (mode I): each output then holds one weight, rounded just as Pillow rounds it for 8-bit pictures.
    """
    scale = size / SIDE
    reach = 3 * scale  # LANCZOS: three lobes
    pitch = math.ceil(reach) * 2 + 1
    comb = np.zeros((pitch, size), np.int32)
    inputs = np.arange(size)
    comb[inputs % pitch, inputs] = 1 << _BITS
    weights = np.asarray(Image.fromarray(comb).resize((SIDE, pitch), Image.Resampling.LANCZOS))
    windows = [_window(out, size, scale, reach) for out in range(SIDE)]
    blocks = []
    for out in range(0, SIDE, _BLOCK):
        first, last = windows[out][0], windows[out + _BLOCK - 1][1]
        block = np.zeros((last - first, _BLOCK))
        for column in range(_BLOCK):
            within = np.arange(*windows[out + column])
            block[within - first, column] = weights[within % pitch, out + column]
        blocks.append((out, first, last, block))
    return blocks


def _window(out: int, size: int, scale: float, reach: float) -> tuple[int, int]:
    """The inputs that one output reads: precompute_coeffs of Pillow's Resample.c, in the same doubles."""
    centre = (out + 0.5) * scale
    return max(0, int(centre - reach + 0.5)), min(size, int(centre + reach + 0.5))


_common = lru_cache(maxsize=512)(_blocks)
_rare = lru_cache(maxsize=64)(_blocks)
