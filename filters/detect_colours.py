"""The detector that comes with the package: things of one plain colour, found by the colour that a phrase names.

It needs no weights and is right on drawn scenes; on photographs it is a rehearsal for the phase, no more.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import ndimage

from filters.detect import Found, Pixels, tidied

VERSION: Final = 1
_COLOURS: Final = {
    ("red", "红"): (0, 12),
    ("orange", "橙"): (13, 22),
    ("yellow", "黄"): (23, 36),
    ("green", "绿"): (37, 80),
    ("blue", "蓝"): (95, 128),
    ("purple", "紫"): (129, 150),
}
"""Words: hue from and to, of 180."""
_SMALLEST: Final = 0.002
"""Share of the picture below which a region is nothing."""


class ColourDetector:
    """Finds each connected region of the colour that a phrase names; its score is how full its box is."""

    id = f"colours {VERSION}"

    def detect(self, picture: Pixels, phrases: Sequence[str]) -> list[Found]:
        """A box for every region of the colour; none for a phrase without a colour."""
        hue, vivid = _hue(picture)
        boxes, scores, numbers = [], [], []
        for number, phrase in enumerate(phrases):
            for low, high in _named(phrase):
                mask = vivid & (hue >= low) & (hue <= high)
                for box, share in _regions(mask):
                    boxes.append(box)
                    scores.append(share)
                    numbers.append(number)
        size = (picture.shape[1], picture.shape[0])
        return tidied(np.array(boxes, np.float64).reshape(-1, 4), np.array(scores), np.array(numbers), size)


def _named(phrase: str) -> list[tuple[int, int]]:
    words = phrase.lower().split()
    return [hues for (english, chinese), hues in _COLOURS.items() if english in words or chinese in phrase]


def _hue(picture: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """(hue of 180, whether the colour is vivid) of each pixel."""
    rgb = picture.astype(np.float32) / 255
    high, low = rgb.max(axis=2), rgb.min(axis=2)
    span = np.maximum(high - low, 1e-6)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sixth = np.where(
        high == red,
        ((green - blue) / span) % 6,
        np.where(high == green, (blue - red) / span + 2, (red - green) / span + 4),
    )
    hue = (sixth * 30) % 180
    # the reds on both sides of the circle's seam are one red
    hue = np.where(hue > 168, 0, hue)
    return hue, (high > 0.25) & ((high - low) > 0.35 * high)


def _regions(mask: np.ndarray) -> list[tuple[tuple[int, int, int, int], float]]:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    found = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = place
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        if sizes[number] >= _SMALLEST * mask.size:
            found.append(((columns.start, rows.start, columns.stop, rows.stop), float(sizes[number] / area)))
    return found
