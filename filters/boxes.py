"""Overlap of boxes, and which of overlapping ones are kept; boxes are x1, y1, x2, y2."""

import numpy as np
import numpy.typing as npt

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
