"""Images: admitted, turned upright and decoded once; what is measured about each, and the rules over it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image
from pydantic import Field

from filters.arrow import any_of, pc
from filters.contrast import contrast
from filters.filter import Columns, Filter, Rule
from filters.header import sniff
from filters.orientation import UPRIGHT, orientation, turned
from filters.phash import SIDE, Grey, phash, thumbnail
from filters.pixels import DECODERS, decode, decoding, digest, grey_pixels
from schemas.errors import RowError
from schemas.settings import Settings

ImageFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


class PictureSettings(Settings):
    """Limits for images, and what is done with those that carry an EXIF turn."""

    formats: tuple[ImageFormat, ...] = Field(
        default=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"),
        min_length=1,
        description="any other is quarantined as unsupported_format and never reaches a decoder",
    )
    max_pixels: int = Field(
        default=100_000_000,
        gt=0,
        le=10_000_000_000,
        description="width x height; more is refused from the header, before any decode",
    )
    max_bytes: int = Field(
        default=64 * 1024 * 1024, gt=0, le=1 << 36, description="a longer file is refused unread"
    )
    orientation: Literal["bake", "keep", "drop"] = Field(
        default="bake",
        description="bake: an image with an EXIF turn is turned and the tag removed before it is measured; "
        "keep: stays as it is; drop: stays as it is, for the rule `orientation` to drop",
    )


class Picture:
    """One image, decoded once: what filters of images measure.

    `image` is Pillow's, and `header` holds what is known of its file: the columns `format`, `orientation`, `byte_size`,
    `sha256` and `original_sha256`. The arrays are made when first asked for. None of it may be changed.
    """

    def __init__(self, data: bytes, header: Mapping[str, str | int], max_pixels: int) -> None:
        self.header = header
        self._data, self._max_pixels = data, max_pixels
        with self.decoding():
            self.image: Image.Image = decode(data, str(header["format"]), max_pixels)

    def decoding(self) -> AbstractContextManager[None]:
        """A block in which Pillow may fail on the image: whatever it raises leaves as a RowError."""
        return decoding(self._data, str(self.header["format"]), self._max_pixels)

    @cached_property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """(height, width, 3) uint8."""
        with self.decoding():
            return np.asarray(self.image if self.image.mode == "RGB" else self.image.convert("RGB"))

    @cached_property
    def grey(self) -> Grey:
        """(height, width) uint8: Pillow's mode L."""
        with self.decoding():
            return grey_pixels(self.image)


class Pictures:
    """Opens the images of rows. Its methods raise RowError and nothing else for bad input; MemoryError goes through."""

    def __init__(self, settings: PictureSettings) -> None:
        self.settings = settings

    def open(self, data: bytes | None) -> Picture:
        """The image that `stored` gives, decoded."""
        data, name = self._admitted(data)
        value = orientation(data, name)
        original = hashlib.sha256(data).hexdigest()
        header: dict[str, str | int] = {
            "format": name,
            "orientation": value,
            "byte_size": len(data),
            "sha256": original,
            "original_sha256": original,
        }
        if self._is_turned(value):
            data = self._turned(data, name, value)
            header |= {"byte_size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return Picture(data, header, self.settings.max_pixels)

    def stored(self, data: bytes) -> bytes:
        """The bytes that go into a shard: `data` itself, or turned upright where the recipe bakes.

        Equal bytes give equal bytes.
        """
        data, name = self._admitted(data)
        value = orientation(data, name)
        return self._turned(data, name, value) if self._is_turned(value) else data

    def _admitted(self, data: bytes | None) -> tuple[bytes, str]:
        if data is None:
            raise RowError("no_image")
        if not data:
            raise RowError("empty")
        if len(data) > self.settings.max_bytes:
            raise RowError("too_large", f"{len(data)} bytes, more than {self.settings.max_bytes}")
        name = sniff(data)
        if name is None:
            raise RowError("not_image")
        if name not in self.settings.formats:
            raise RowError("unsupported_format", f"{name} is not among the recipe's formats")
        if name not in DECODERS:
            raise RowError(
                "unsupported_format", f"{name} is not read by this Pillow; install one built with it"
            )
        return data, name

    def _is_turned(self, value: int) -> bool:
        return value != UPRIGHT and self.settings.orientation == "bake"

    def _turned(self, data: bytes, name: str, value: int) -> bytes:
        with decoding(data, name, self.settings.max_pixels):
            return turned(decode(data, name, self.settings.max_pixels), data, name, value)


def measure(picture: Picture) -> dict[str, Any]:
    """All columns but `phash`, and the thumbnail that `hashes` makes it from.

    Everything but `original_sha256` and `orientation` is of the bytes as stored. BLAS has to be held to one thread by
    the process (OPENBLAS_NUM_THREADS=1): results do not depend on it, speed does.
    """
    image = picture.image
    with picture.decoding():
        small = thumbnail(picture.grey)
        grey_range, grey_std = contrast(image, picture.grey, small)
        pixels = digest(image)
    return {
        **picture.header,
        "width": image.width,
        "height": image.height,
        "aspect_ratio": max(image.size) / min(image.size),
        "pixels": pixels,
        "grey_range": grey_range,
        "grey_std": grey_std,
        "thumbnail": small.tobytes(),
    }


def hashes(thumbnails: Sequence[bytes | None]) -> pa.Array:
    """The column `phash` for thumbnails of 32 x 32 grey pixels, null where there is none."""
    sound = [one for one in thumbnails if one is not None]
    found = iter(
        phash(np.frombuffer(b"".join(sound), np.uint8).reshape(-1, SIDE, SIDE)).tolist() if sound else ()
    )
    return pa.array([None if one is None else next(found) for one in thumbnails], pa.uint64())


def _open_hashes(settings: PictureSettings) -> Callable[[pa.RecordBatch], Columns]:
    # loads scipy before any row whose time is limited
    phash(np.zeros((1, SIDE, SIDE), np.uint8))
    return lambda batch: {"phash": hashes(batch["thumbnail"].to_pylist())}


class AspectRatio(Settings):
    """Drops images that are too long for their width."""

    max: float = Field(3.0, ge=1, le=1_000_000, description="longer side / shorter side")


class MinSide(Settings):
    """Drops images that are too small."""

    pixels: int = Field(200, ge=1, le=1_000_000, description="the shorter side is at least this")


class Blank(Settings):
    """Drops images of one colour: those below both limits (why these: filters/contrast.py)."""

    grey_std: float = Field(1.0, ge=0, le=256)
    grey_range: int = Field(64, ge=0, le=256)


class Orientation(Settings):
    """Drops images with an EXIF turn; for signals.picture.orientation: drop."""


class ImageBytes(Settings):
    """Drops images whose file is too small for an image: placeholders, flat drawings, heavy compression."""

    min: int = Field(5000, ge=0, le=10**9, description="fewer bytes fail")
    per_pixel: float = Field(0.0, ge=0, le=100, description="fewer bytes a pixel fail")


def _few_bytes(columns: Columns, settings: ImageBytes, languages: Sequence[str]) -> Any:
    pixels = pc.multiply(pc.cast(columns["width"], pa.float64()), pc.cast(columns["height"], pa.float64()))
    thin = pc.less(pc.cast(columns["byte_size"], pa.float64()), pc.multiply(pixels, settings.per_pixel))
    return any_of([pc.less(columns["byte_size"], settings.min), thin])


FILTER: Final = Filter(
    name="picture",
    version=2,
    settings=PictureSettings,
    columns={
        "format": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "aspect_ratio": pa.float32(),
        "orientation": pa.int8(),
        "byte_size": pa.int64(),
        "sha256": pa.string(),
        "original_sha256": pa.string(),
        "phash": pa.uint64(),
        "pixels": pa.string(),
        "grey_range": pa.int16(),
        "grey_std": pa.float32(),
    },
    image=lambda _: measure,
    batch=_open_hashes,
    passes={"thumbnail": pa.binary()},
    libraries=("numpy", "pillow", "scipy", "xxhash"),
    rules=(
        Rule(
            "aspect_ratio",
            AspectRatio,
            ("aspect_ratio",),
            lambda columns, rule, _: pc.greater(pc.cast(columns["aspect_ratio"], pa.float64()), rule.max),
            lambda row, rule: f"aspect_ratio {row['aspect_ratio']:.2f} > {rule.max:g}",
            about="image",
            paper="paper",
        ),
        Rule(
            "min_side",
            MinSide,
            ("width", "height"),
            lambda columns, rule, _: pc.less(
                pc.min_element_wise(columns["width"], columns["height"]), rule.pixels
            ),
            lambda row, rule: f"{row['width']} x {row['height']} < {rule.pixels}",
            about="image",
            paper="paper",
        ),
        Rule(
            "blank",
            Blank,
            ("grey_std", "grey_range"),
            lambda columns, rule, _: pc.and_(
                pc.less(columns["grey_std"], rule.grey_std), pc.less(columns["grey_range"], rule.grey_range)
            ),
            lambda row, _: f"grey_std {row['grey_std']:.2f}, grey_range {row['grey_range']}",
            about="image",
        ),
        Rule(
            "image_bytes",
            ImageBytes,
            ("byte_size", "width", "height"),
            _few_bytes,
            lambda row, _: f"{row['byte_size']} bytes for {row['width']} x {row['height']}",
            on=False,
            about="image",
        ),
        Rule(
            "orientation",
            Orientation,
            ("orientation",),
            lambda columns, *_: pc.greater(columns["orientation"], UPRIGHT),
            lambda row, _: f"orientation {row['orientation']}",
            on=False,
            about="image",
        ),
    ),
)
