"""Detectors: which boxes of a picture show what a phrase says."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

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


class PlantedDetector:
    """The twin for tests and rehearsals: gives the boxes that it was told of, phrase by phrase."""

    id = "planted"

    def __init__(self, boxes: Mapping[str, Sequence[tuple[Box, float]]]) -> None:
        self._boxes = boxes

    def detect(self, picture: Pixels, phrases: Sequence[str]) -> list[Found]:
        """The planted boxes of the phrases that have some, clipped to the picture."""
        planted = [
            (number, box, score)
            for number, phrase in enumerate(phrases)
            for box, score in self._boxes.get(phrase, ())
        ]
        numbers, boxes, scores = zip(*planted, strict=True) if planted else ((), (), ())
        size = (picture.shape[1], picture.shape[0])
        return tidied(np.array(boxes, np.float64).reshape(-1, 4), np.array(scores), np.array(numbers), size)
