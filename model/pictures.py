"""Picture bytes to the square that the model sees."""

import io
import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PIXELS: Final = 178_956_970
"""More pixels than this are refused unread."""


class PictureError(ValueError):
    """Bytes that are no picture, a broken one, or one too large."""


def square(data: bytes, side: int) -> NDArray[np.uint8]:
    """(3, side, side) RGB, squeezed to a square whatever its shape, bicubically; PictureError if it is none.

    The picture is taken as stored: no EXIF turn, as boxes are given in stored pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > PIXELS:
                    raise PictureError(f"{image.width} x {image.height} pixels are too many")
                # a JPEG is decoded at the smallest eighths that leave twice the side: several times faster
                image.draft(image.mode, (2 * side, 2 * side))
                return resized(image, side)
        # Pillow raises whatever its decoders meet: this is the row's boundary
        except (
            OSError,
            ValueError,
            SyntaxError,
            EOFError,
            Image.DecompressionBombError,
            MemoryError,
        ) as error:
            raise PictureError(str(error)) from error


def resized(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """(3, side, side) of an open picture; transparency is laid on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    rgb = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))
