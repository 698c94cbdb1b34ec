"""Everything that is measured about one picture, from a single decode."""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from filters.contrast import contrast
from filters.header import sniff
from filters.phash import Grey, thumbnail
from filters.pixels import DECODERS, decode, decoding, digest, grey_pixels
from filters.turn import UPRIGHT, orientation, turned
from schemas.errors import RowError
from schemas.signals import PictureSettings

Scalar = str | int | float


class Pictures:
    """The picture columns of `schemas.row.SIGNALS`, one row at a time, hashes by the batch.

    `measure` raises RowError and nothing else for bad input; MemoryError goes through. BLAS has to
    be held to one thread by the process (OPENBLAS_NUM_THREADS=1): results do not depend on it, speed does.
    """

    VERSION: Final = 2
    LIBRARIES: Final = ("numpy", "pillow", "scipy", "xxhash")

    def __init__(self, settings: PictureSettings) -> None:
        # here, since scipy would be a fifth of what every command takes to start; but before any row
        # whose time is limited
        from filters.phash import phash

        self.settings = settings
        self._phash = phash

    def measure(self, data: bytes | None) -> tuple[dict[str, Scalar], Grey]:
        """(all picture columns but `phash`, the (32, 32) uint8 thumbnail that `finish` makes it from).

        Everything but `original_sha256` and `orientation` is of the bytes as `stored` gives them.
        """
        data, name = self._admitted(data)
        value = orientation(data, name)
        original = hashlib.sha256(data).hexdigest()
        columns: dict[str, Scalar] = {
            "format": name,
            "orientation": value,
            "byte_size": len(data),
            "sha256": original,
            "original_sha256": original,
        }
        if self._is_turned(value):
            data = self._turned(data, name, value)
            columns |= {"byte_size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        with decoding(data, name, self.settings.max_pixels):
            small = _look(decode(data, name, self.settings.max_pixels), columns)
        return columns, small

    def finish(self, thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
        """The column `phash` for (N, 32, 32) thumbnails."""
        return self._phash(thumbnails)

    def stored(self, data: bytes) -> bytes:
        """The bytes that go into a shard: `data` itself, or turned upright where the recipe bakes.

        Equal bytes give equal bytes. Raises RowError as `measure` does.
        """
        data, name = self._admitted(data)
        value = orientation(data, name)
        return self._turned(data, name, value) if self._is_turned(value) else data

    def decoded(self, data: bytes) -> Image.Image:
        """The picture that `stored` gives, decoded. Raises RowError as `measure` does."""
        stored = self.stored(data)
        _, name = self._admitted(stored)
        with decoding(stored, name, self.settings.max_pixels):
            return decode(stored, name, self.settings.max_pixels)

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


def _look(image: Image.Image, columns: dict[str, Scalar]) -> Grey:
    """Adds what the decoded pixels say to `columns`; gives the thumbnail."""
    longer, shorter = max(image.size), min(image.size)
    grey = grey_pixels(image)
    small = thumbnail(grey)
    grey_range, grey_std = contrast(image, grey, small)
    columns |= {
        "width": image.width,
        "height": image.height,
        "aspect_ratio": longer / shorter,
        "pixels": digest(image),
        "grey_range": grey_range,
        "grey_std": grey_std,
    }
    return small
