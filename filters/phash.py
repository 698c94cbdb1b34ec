"""Perceptual hashes: 64 bits a picture, equal bit for bit to imagehash's `phash`."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.fftpack import dct

LOW: Final = 8
"""Of the 32 x 32 frequencies the lowest 8 x 8 make the hash."""


def phash(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(N,) hashes of (N, 32, 32) grey thumbnails: `int(str(imagehash.phash(image)), 16)` for each.

    imagehash's own steps over a whole batch: an unnormalised DCT-II along lines, then along
    columns, and a bit for each low frequency above their median, first bit highest. Along lines
    first, and with scipy's old `fftpack` interface, because last bits decide about blank pictures.
    """
    frequencies = dct(dct(thumbnails, axis=1), axis=2)[:, :LOW, :LOW].reshape(len(thumbnails), LOW * LOW)
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)
