"""A picture as the pixels that a CLIP reads, by the arithmetic of open_clip's own transform.

open_clip resizes the whole image, cuts out the middle, and turns it into floats, all on the CPU. Here
Pillow makes only what the cut keeps, and bytes stay bytes until they are on the device. Where torch is at
hand it may resize colour images instead (filters/clip/preprocess.py); pixels then differ from open_clip's by a
step or two. With `draft` a JPEG that is far too large is decoded at a half, a quarter or an eighth, which moves
cosines; docs/clip.md has the measurements.

A whole picture resized by the arithmetic of Pillow, several times faster than Pillow.

Torch's antialiasing resize of bytes is Pillow's algorithm in fixed point, with vector instructions: no
pixel is further than one step from Pillow's (measured: a mean of 0.002 to 0.006 steps), at a fifth of
its time. It reads the memory that Pillow decoded into, without a copy.
"""

import ctypes
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, JpegImagePlugin

from filters.header import sniff
from filters.pixels import DECODERS, check_header, check_size
from schemas.errors import RowError

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]

_EXCESS: Final = 4
"""Of a long strip Pillow makes only what is kept; here the whole is made, so it must not be far larger."""


def is_fast(image: Image.Image, size: tuple[int, int], kept: tuple[int, int]) -> bool:
    """Whether `resampled` can make `size` of the picture without wasting much beyond the part kept."""
    return image.mode in ("RGB", "L") and size[0] * size[1] <= _EXCESS * kept[0] * kept[1]


def resampled(image: Image.Image, size: tuple[int, int], interpolation: str) -> Pixels:
    """(height, width, 3) uint8 of an RGB or L picture as a whole, to (width, height); bicubic or bilinear."""
    import torch

    if image.mode == "L":
        # three equal channels are resized faster than one
        image = image.convert("RGB")
    if image.size == size:
        return np.asarray(image)
    source = _tensor(image)
    made: torch.Tensor = torch.nn.functional.interpolate(
        source, size=(size[1], size[0]), mode=interpolation, antialias=True, align_corners=False
    )
    pixels: Pixels = made[0].permute(1, 2, 0)[..., :3].numpy()
    return pixels


def _tensor(image: Image.Image) -> "torch.Tensor":
    """(1, 4, H, W) over Pillow's own memory, or (1, 3, H, W) of a copy where that is in blocks."""
    import torch

    try:
        buffer = cast(Any, pa.array)(image).values.buffers()[1]
    except ValueError:  # above 16 MB Pillow allocates in blocks
        copy = torch.from_numpy(np.array(image))
        return copy.permute(2, 0, 1)[None]
    # the memory is read only, which torch warns of for every buffer that says so itself
    memory = (ctypes.c_ubyte * buffer.size).from_address(buffer.address)
    memory.owner = buffer
    rows = torch.frombuffer(memory, dtype=torch.uint8).view(1, image.height, image.width, 4)
    return rows.permute(0, 3, 1, 2)


Frame = tuple[tuple[int, int], tuple[float, float]]
Resample = Callable[[Image.Image, tuple[int, int], str], Pixels]

_DRAFT: Final = 2
"""With `draft` a JPEG is decoded smaller where so many times the side needed remains."""

_MARGIN: Final = 3
"""Columns and lines resized beyond the cut: a bicubic window reaches two, so those kept are exact."""

_SMOOTH: Final = ("RGB", "L", "RGBA", "CMYK")
"""Modes that Pillow resizes with the filter asked for; it takes the nearest pixel in most others."""


@dataclass(frozen=True, slots=True)
class Preprocess:
    """open_clip's inference transform up to the pixels; `mean` and `std` are applied on the device.

    `resample` makes an RGB or grey image of another size, (width, height), faster than Pillow does.
    """

    height: int
    width: int
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    fill: int = 0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    draft: bool = False
    resample: Resample | None = None

    @classmethod
    def of(
        cls, config: dict[str, Any], draft: bool = False, resample: Resample | None = None
    ) -> "Preprocess":
        """From the `preprocess_cfg` that open_clip attaches to a model."""
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
        return cls(
            height=height,
            width=width,
            resize_mode=config.get("resize_mode") or "shortest",
            interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
            fill=config.get("fill_color") or 0,
            mean=_three(config["mean"]),
            std=_three(config["std"]),
            draft=draft,
            resample=resample,
        )

    def __call__(self, image: Image.Image | bytes, max_pixels: int = 100_000_000) -> Pixels:
        """(height, width, 3) uint8. Bytes that cannot be decoded raise RowError."""
        if isinstance(image, Image.Image):
            return self._pixels(image, self._drafted(image))
        name = sniff(image)
        if name not in DECODERS:
            raise RowError("not_image" if name is None else "unsupported_format")
        check_header(image, name, max_pixels)
        try:
            opened = DECODERS[name](io.BytesIO(image))
            check_size(opened.size, max_pixels)
            frame = self._drafted(opened)
            opened.load()
        except (RowError, MemoryError):
            raise
        except Exception as error:  # a decoder fed hostile bytes may raise anything
            raise RowError("undecodable", f"{name}: {type(error).__name__}") from error
        return self._pixels(opened, frame)

    def _drafted(self, image: Image.Image) -> Frame:
        """(size of the whole once resized, the part of the decoder's output that is the whole).

        With `draft`, asks the decoder of a JPEG that is not loaded yet for a smaller picture.
        """
        size = self._resized(*image.size)
        source = float(image.width), float(image.height)
        if self.draft and isinstance(image, JpegImagePlugin.JpegImageFile):
            drafted = image.draft(cast(str, None), (size[0] * _DRAFT, size[1] * _DRAFT))
            source = drafted[1][2:] if drafted else source
        return size, source

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the whole picture once resized, by torchvision's and open_clip's rounding."""
        if self.resize_mode == "squash":
            return self.width, self.height
        if self.resize_mode == "shortest" and self.width == self.height:
            longer = int(self.width * max(width, height) / min(width, height))
            return (self.width, longer) if width <= height else (longer, self.height)
        ratios = height / self.height, width / self.width
        ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def _pixels(self, image: Image.Image, frame: Frame) -> Pixels:
        size, source = frame
        left, right = _cut(size[0], self.width)
        top, bottom = _cut(size[1], self.height)
        # what of the resized picture lies within the cut, and a margin where there is more
        x1, x2, y1, y2 = max(0, left), min(size[0], right), max(0, top), min(size[1], bottom)
        whole_kept = source == image.size and is_fast(image, size, (self.width, self.height))
        if self.resample is not None and whole_kept:
            whole = self.resample(image, size, self.interpolation)[y1:y2, x1:x2]
            if whole.shape[:2] == (self.height, self.width):
                return np.ascontiguousarray(whole)
            part = Image.fromarray(whole)
            return np.asarray(_padded(part, (self.width, self.height), (x1 - left, y1 - top), self.fill))
        first = max(0, x1 - _MARGIN), max(0, y1 - _MARGIN)
        part = self._resize(image, frame, (*first, min(size[0], x2 + _MARGIN), min(size[1], y2 + _MARGIN)))
        part = part.crop((x1 - first[0], y1 - first[1], x2 - first[0], y2 - first[1]))
        if part.size != (self.width, self.height):
            part = _padded(part, (self.width, self.height), (x1 - left, y1 - top), self.fill)
        return np.asarray(part.convert("RGB"))

    def _resize(self, image: Image.Image, frame: Frame, wide: tuple[int, int, int, int]) -> Image.Image:
        """The part `wide` of the picture `image` resized as a whole."""
        (width, height), source = frame
        method = Image.Resampling.BILINEAR if self.interpolation == "bilinear" else Image.Resampling.BICUBIC
        if image.mode not in _SMOOTH:
            return image.resize((width, height), method).crop(wide)
        if (width, height) == image.size:
            return image.crop(wide)
        x, y = source[0] / width, source[1] / height
        box = wide[0] * x, wide[1] * y, min(source[0], wide[2] * x), min(source[1], wide[3] * y)
        return image.resize((wide[2] - wide[0], wide[3] - wide[1]), method, box=box)


def _cut(size: int, wanted: int) -> tuple[int, int]:
    """Where the middle `wanted` of `size` begins and ends; it begins below 0 where it has to be padded."""
    start = round((size - wanted) / 2.0) if size >= wanted else -((wanted - size) // 2)
    return start, start + wanted


def _padded(image: Image.Image, size: tuple[int, int], at: tuple[int, int], fill: int) -> Image.Image:
    """The image on a ground of `size`; filled in its own mode, where 0 may be white, as torchvision does."""
    bands = len(image.getbands())
    whole = Image.new(image.mode, size, fill if bands == 1 else (fill,) * bands)
    palette = image.getpalette() if image.mode == "P" else None
    if palette is not None:
        whole.putpalette(palette)
    whole.paste(image, at)
    return whole


def _three(value: Any) -> tuple[float, float, float]:
    one, two, three = value if isinstance(value, list | tuple) else (value,) * 3
    return float(one), float(two), float(three)
