"""Image bytes to the square that the model sees."""

import io
import warnings
from typing import Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from torch.nn import functional

from schemas.sample import PNG_METADATA_BYTES

PngImagePlugin.MAX_TEXT_CHUNK = PNG_METADATA_BYTES

PIXELS: Final = 178_956_970
"""More pixels than this are refused unread."""

_LENT: Final = 3 << 20
"""Pixels that Pillow holds in one piece (16 MiB) for certain, so that they can be read where they lie."""


class ImageError(ValueError):
    """Bytes that are no image, a broken one, or one too large."""


def square(data: bytes, side: int) -> NDArray[np.uint8]:
    """Returns (3, side, side) RGB, squeezed to a square whatever its shape, bicubically; ImageError if it is none.

    The image is taken as stored: no EXIF turn, as boxes are given in stored pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > PIXELS:
                    raise ImageError(f"{image.width} x {image.height} pixels are too many")
                # a JPEG is decoded at the smallest eighths that leave twice the side: several times faster
                image.draft(image.mode, (2 * side, 2 * side))
                return resized(image, side)
        except UnidentifiedImageError as error:
            raise ImageError("it is of no known format") from error
        # Pillow raises whatever its decoders meet: this is the row's boundary
        except (
            OSError,
            ValueError,
            SyntaxError,
            EOFError,
            Image.DecompressionBombError,
            MemoryError,
        ) as error:
            raise ImageError(str(error)) from error


def resized(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Returns (3, side, side) of an open image; transparency is laid on white.

    Pillow's own filter, within one or two levels of its result, by torch's vector code: half the time, which
    is most of what a loader does.
    """
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if image.width * image.height > _LENT:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    image.load()
    # four bytes a pixel, as they lie in Pillow's own memory: a copy would cost as much as the resize
    lent = pa.array(image).values.to_numpy().reshape(image.height, image.width, 4)
    pixels = torch.from_numpy(lent).permute(2, 0, 1)[None]
    square = functional.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True)
    return np.ascontiguousarray(square[0, :3].numpy())
