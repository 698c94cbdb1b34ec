"""Is this the image that the list, or an earlier fetch, had under a URL?"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from filters.phash import SIDE, phash, thumbnail
from filters.pixels import decode, decoding, grey_pixels
from schemas.errors import RowError

Verdict = Literal["same", "altered", "replaced", "unknown"]
"""`altered`: other bytes that look the same; `unknown`: other bytes, and nothing says how the image looked."""

BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the image that a URL had: hashes, or the image itself, with its format."""

    sha256: str | None = None
    md5: str | None = None
    phash: int | None = None
    image: Callable[[], bytes] | None = None
    form: str = ""

    @classmethod
    def of_list(cls, row: Mapping[str, Any]) -> "Known | None":
        """Returns what a row of LIST says, None where it says nothing."""
        found = cls(row["sha256"], row["md5"], row["phash"])
        return found if found != cls() else None


def perceptual_hash(data: bytes, form: str, max_pixels: int) -> int | None:
    """Returns the perceptual hash of an image, None for one that cannot be decoded."""
    try:
        with decoding(data, form, max_pixels):
            small = thumbnail(grey_pixels(decode(data, form, max_pixels)))
    except RowError:
        return None
    return int(phash(np.asarray(small, np.uint8).reshape(1, SIDE, SIDE))[0])


def verdict(known: Known, data: bytes, form: str, max_pixels: int, distance: int) -> Verdict:
    """Returns whether an image is the one known, by its bytes, else by how it looks.

    `distance` is how many bits of the perceptual hash may differ in one image.
    """
    if known.sha256 is not None and known.sha256 == hashlib.sha256(data).hexdigest():
        return "same"
    if known.md5 is not None and known.md5 == hashlib.md5(data, usedforsecurity=False).hexdigest():
        return "same"
    before = known.phash
    if before is None and known.image is not None:
        before = perceptual_hash(known.image(), known.form, max_pixels)
    now = perceptual_hash(data, form, max_pixels) if before is not None else None
    if before is None or now is None:
        return "unknown"
    if (before ^ now).bit_count() > distance:
        return "replaced"
    return "altered" if known.sha256 or known.md5 or before != now else "same"
