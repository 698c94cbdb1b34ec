"""Boxes as datasets give them, made boxes within their image, or refused with what is wrong."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pipelines.datasets.drafts import NamedImage, on_grid
from pipelines.datasets.reasons import Refusal, Refused
from schemas.sample import Box

MIN_EXTENT: Final = 0.01
"""Pixels; coordinates are kept to two decimals."""
_OVERSHOOT: Final = 1.1
"""Sizes beyond which a box that leaves its image is suspected to be of another form."""

Reader = Callable[[Sequence[Any], int, int], Box]
"""Makes a box of a dataset's own form one within the image: `from_corners`, `from_size` or `from_shares`."""


def boxes_of(
    values: Iterable[tuple[int, Any]], image: NamedImage, read: Reader, lost: list[Refusal]
) -> dict[Box, list[int]]:
    """Returns the usable boxes, each once with the places of the annotations that give it; others go to `lost`."""
    found: dict[Box, list[int]] = {}
    for at, value in values:
        try:
            box = on_grid(read(value, image.width, image.height), image.width, image.height)
        except Refused as error:
            lost.append(error.refusal._replace(at=at))
        else:
            found.setdefault(box, []).append(at)
    return found


def from_corners(value: Sequence[Any], width: int, height: int) -> Box:
    """Returns the box [x1, y1, x2, y2] in pixels, clipped to the image."""
    try:
        x1, y1, x2, y2 = value
        if 0 <= x1 < x2 - MIN_EXTENT and 0 <= y1 < y2 - MIN_EXTENT and x2 <= width and y2 <= height:
            if x2 > 1 or y2 > 1:
                return x1, y1, x2, y2
            raise Refused("box_normalised", f"{list(value)} is within the first pixel")
    except (TypeError, ValueError) as error:
        raise Refused("box_numbers", f"{_shown(value)} is no box") from error
    box = _numbers(value)
    _check_pixels(box)
    if x2 < x1 or y2 < y1:
        swapped = f"{list(value)} in an image of {width} x {height}"
        within = min(value) >= 0 and x2 > 0 and y2 > 0 and x1 + x2 <= width and y1 + y2 <= height
        raise Refused("box_xywh" if within else "box_order", swapped)
    return clipped(box, width, height)


def from_size(value: Sequence[Any], width: int, height: int) -> Box:
    """Returns the box [x, y, width, height] in pixels, clipped to the image."""
    x, y, w, h = _numbers(value)
    _check_pixels((x, y, w, h))
    if w < 0 or h < 0:
        raise Refused("box_order", f"{list(value)} has a negative size")
    beyond = x + w > width * _OVERSHOOT + 1 or y + h > height * _OVERSHOOT + 1
    if beyond and 0 <= x < w <= width and 0 <= y < h <= height:
        raise Refused("box_xyxy", f"{list(value)} in an image of {width} x {height}")
    return clipped((x, y, x + w, y + h), width, height)


def from_shares(value: Sequence[Any], width: int, height: int) -> Box:
    """Returns the box [x1, y1, x2, y2] in shares of the sides, as pixels, clipped to the image."""
    try:
        x1, y1, x2, y2 = value
        if 0 <= x1 < x2 - MIN_EXTENT / width and 0 <= y1 < y2 - MIN_EXTENT / height and x2 <= 1 and y2 <= 1:
            return x1 * width, y1 * height, x2 * width, y2 * height
    except (TypeError, ValueError) as error:
        raise Refused("box_numbers", f"{_shown(value)} is no box") from error
    x1, y1, x2, y2 = box = _numbers(value)
    # detectors overshoot a little; pixels overshoot a lot
    if max(box) > 2:
        raise Refused("box_pixels", f"{list(value)} are no shares")
    if x2 < x1 or y2 < y1:
        raise Refused("box_order", f"{list(value)}")
    return clipped((x1 * width, y1 * height, x2 * width, y2 * height), width, height)


def clipped(box: Box, width: int, height: int) -> Box:
    """Returns the part of `box` within the image; Refused where there is none to speak of."""
    x1, y1, x2, y2 = box
    if x2 - x1 < MIN_EXTENT or y2 - y1 < MIN_EXTENT:
        raise Refused("box_degenerate", f"{[x1, y1, x2, y2]} has no extent")
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        raise Refused("box_outside", f"{[x1, y1, x2, y2]} in an image of {width} x {height}")
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if x2 - x1 < MIN_EXTENT or y2 - y1 < MIN_EXTENT:
        raise Refused("box_degenerate", f"{list(box)} has no extent within {width} x {height}")
    return x1, y1, x2, y2


def size_of(width: Any, height: Any) -> tuple[int, int]:
    """Returns an image's size as a record gives it; Refused `bad_record` where one is missing, else `image_size`."""
    for name, one in (("width", width), ("height", height)):
        if one is None:
            raise Refused(
                "bad_record", f"the field {name!r} is missing: the image's size in pixels is needed"
            )
    whole = all(
        isinstance(one, int) and not isinstance(one, bool) and 0 < one < 10**7 for one in (width, height)
    )
    if not whole:
        raise Refused("image_size", f"an image of {_shown(width)} x {_shown(height)}")
    return width, height


def _numbers(value: Sequence[Any]) -> Box:
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise Refused("box_numbers", f"{_shown(value)} is no box")
    for one in value:
        if (
            not isinstance(one, int | float)
            or isinstance(one, bool)
            or not math.isfinite(one)
            or abs(one) > 1e9
        ):
            raise Refused("box_numbers", f"{_shown(value)} is no box")
    x1, y1, x2, y2 = value
    return x1, y1, x2, y2


def _check_pixels(box: Box) -> None:
    if max(box) <= 1 and min(box) >= 0 and max(box[2:]) > 0:
        raise Refused("box_normalised", f"{list(box)} is within the first pixel")


def _shown(value: object) -> str:
    return repr(value)[:80]
