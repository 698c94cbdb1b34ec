"""Detectors: which boxes of an image show what a phrase says, and which of overlapping boxes are kept.

The detector that comes with the package finds things of one plain colour by the colour that a phrase names. It needs no
weights and is right on drawn scenes; on photographs it is a rehearsal for the phase, no more. Boxes are x1, y1, x2, y2.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3) RGB."""
Box = tuple[float, float, float, float]

DECIMALS: Final = 5
"""Scores are rounded so: beyond it two machines of one kind may differ."""
LEAST: Final = 1.0
"""Pixels: a box with a shorter side within the picture is none."""


class Found(NamedTuple):
    """A box in pixels (x1, y1, x2, y2), two decimals, within the picture; `phrase` is the number of the phrase."""

    phrase: int
    box: Box
    score: float


class Detector(Protocol):
    """Finds phrases in a picture; `id` names model and weights, for fingerprints and the manifest."""

    id: str

    def detect(self, picture: Pixels, phrases: Sequence[str]) -> list[Found]:
        """The boxes of each phrase; what it gives for one picture depends on nothing else."""


def tidied(
    boxes: npt.NDArray[Any], scores: npt.NDArray[Any], phrases: npt.NDArray[Any], size: tuple[int, int]
) -> list[Found]:
    """Raw boxes (N, 4) in pixels, clipped to `size` = (width, height) and rounded; phrase by phrase, best first."""
    width, height = size
    low = np.clip(boxes[:, :2], 0, size)
    high = np.clip(boxes[:, 2:], 0, size)
    places = np.round(np.concatenate([low, high], axis=1).astype(np.float64), 2)
    marks = np.round(scores.astype(np.float64), DECIMALS)
    sound = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    sound &= ((places[:, 2:] - places[:, :2]) >= min(LEAST, width, height)).all(axis=1)
    found = []
    for at in np.flatnonzero(sound).tolist():
        x1, y1, x2, y2 = places[at].tolist()
        found.append(Found(int(phrases[at]), (x1, y1, x2, y2), float(marks[at])))
    # by value: the order in which a model lists its boxes is nobody's promise
    return sorted(found, key=lambda one: (one.phrase, -one.score, one.box))


def limited(found: Sequence[Found], floor: float, most: int) -> list[Found]:
    """Of each phrase the `most` best boxes that reach `floor`; `found` is sorted as `tidied` sorts."""
    kept: list[Found] = []
    counts: dict[int, int] = {}
    for one in found:
        if one.score >= floor and counts.get(one.phrase, 0) < most:
            counts[one.phrase] = counts.get(one.phrase, 0) + 1
            kept.append(one)
    return kept


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


Floats = npt.NDArray[np.float64]


def iou(one: npt.ArrayLike, others: npt.ArrayLike) -> Floats:
    """(N,) area of intersection over area of union of box `one` (4,) with each of `others` (N, 4).

    0 where neither has any area.
    """
    a = np.asarray(one, np.float64)
    b = np.asarray(others, np.float64).reshape(-1, 4)
    across = np.clip(np.minimum(a[2], b[:, 2]) - np.maximum(a[0], b[:, 0]), 0, None)
    down = np.clip(np.minimum(a[3], b[:, 3]) - np.maximum(a[1], b[:, 1]), 0, None)
    shared = across * down
    areas = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    whole = (a[2] - a[0]) * (a[3] - a[1]) + areas - shared
    found: Floats = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return found


def suppress(boxes: npt.ArrayLike, scores: npt.ArrayLike, limit: float) -> list[int]:
    """The indices, best first, of the boxes that stay when none may overlap a better one by more than `limit`.

    Greedy non-maximum suppression: the best box is kept, those with an IoU above `limit` with it go, and
    so on. Of equal scores the earlier box is the better one.
    """
    places = np.asarray(boxes, np.float64).reshape(-1, 4)
    # stable, so that ties do not depend on the sorting
    waiting = np.argsort(-np.asarray(scores, np.float64).reshape(-1), kind="stable")
    kept: list[int] = []
    while len(waiting):
        best, rest = int(waiting[0]), waiting[1:]
        kept.append(best)
        waiting = rest[iou(places[best], places[rest]) <= limit]
    return kept
