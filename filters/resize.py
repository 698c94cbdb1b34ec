"""Pictures made smaller, by the recipe's `resize`; never larger."""

import hashlib
import io
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image
from pydantic import Field

from filters.orientation import UPRIGHT
from schemas.settings import Settings


class Resize(Settings):
    """Pictures whose longer side is above `max_side` are made smaller and re-encoded; never larger."""

    max_side: int = Field(gt=0, le=1_000_000)
    quality: int = Field(90, ge=1, le=100)


@dataclass(frozen=True)
class Resized:
    """A re-encoded picture."""

    data: bytes
    format: str
    width: int
    height: int
    sha256: str


def resized(
    image: Image.Image,
    form: str,
    resize: Resize,
    resample: Image.Resampling = Image.Resampling.LANCZOS,
    turn: int = UPRIGHT,
) -> Resized:
    """Returns an opened image with its longer side at `resize.max_side`, in its own format where that is common.

    JPEG and WebP are written at `resize.quality`; PNG stays PNG; every other format becomes PNG. `turn` is the EXIF
    orientation, which is written again; Pillow has turned a TIFF already. Equal bytes give equal bytes with one version
    of Pillow.
    """
    if form == "JPEG":
        # decode at a lower resolution only where twice the wanted size is still there to filter from
        image.draft(image.mode, (2 * resize.max_side, 2 * resize.max_side))
    width, height = fitted(image.width, image.height, resize.max_side)
    target = form if form in ("JPEG", "WEBP", "PNG") else "PNG"
    profile = image.info.get("icc_profile")
    mode = _mode(image, target)
    if mode != image.mode:
        # a profile of inks says nothing of colours
        profile = profile if image.mode not in ("CMYK", "LAB", "F") else None
        image = image.convert(mode)
    small = image.resize((width, height), resample)
    # no comment, EXIF or colour key of the larger one
    small.info = {}
    out = io.BytesIO()
    options: dict[str, Any] = {} if target == "PNG" else {"quality": resize.quality}
    if turn != UPRIGHT and form != "TIFF":
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = turn
        options["exif"] = exif
    small.save(out, target, icc_profile=profile, **options)
    body = out.getvalue()
    return Resized(body, target, width, height, hashlib.sha256(body).hexdigest())


def _mode(image: Image.Image, target: str) -> str:
    """The mode in which the picture can be filtered, and written as `target`."""
    if image.mode == "PA" or "transparency" in image.info:
        return "RGBA"
    if image.mode in ("P", "1") or (image.mode in ("CMYK", "LAB") and target != "JPEG"):
        return "RGB"
    return "L" if image.mode == "F" else image.mode


def fitted(width: int, height: int, max_side: int) -> tuple[int, int]:
    """The size whose longer side is `max_side`, with the shape kept and no side below one pixel."""
    scale = max_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
