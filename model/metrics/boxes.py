"""Boxes compared."""

from collections.abc import Sequence

from schemas.sample import Box


def iou(a: Box, b: Box) -> float:
    """Intersection over union; 0 for boxes without area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    either = _area(a) + _area(b) - both
    return both / either if either > 0 else 0.0


def hit(given: Box | None, truth: Sequence[Box], threshold: float = 0.5) -> bool:
    """Whether the box found lies on one of the true boxes; finding none is a miss."""
    return given is not None and any(iou(given, one) >= threshold for one in truth)


def pair_f1(
    given: Sequence[tuple[str, Box]], truth: Sequence[tuple[str, Box]], threshold: float = 0.5
) -> tuple[int, int, int]:
    """(hits, given, true): phrases with boxes, each true one found at most once, best overlap first."""
    found = sorted(
        (
            (-iou(a[1], b[1]), i, j)
            for i, a in enumerate(given)
            for j, b in enumerate(truth)
            if a[0] == b[0] and iou(a[1], b[1]) >= threshold
        ),
    )
    ours: set[int] = set()
    theirs: set[int] = set()
    for _, i, j in found:
        if i not in ours and j not in theirs:
            ours.add(i)
            theirs.add(j)
    return len(ours), len(given), len(truth)


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
