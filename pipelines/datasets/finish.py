"""A draft and its stored pictures, made a sample."""

from collections.abc import Sequence
from dataclasses import replace

from pipelines.datasets.built import Draft, Picture
from pipelines.datasets.reasons import Refused
from schemas.sample import Box, Image, ImageRef, Phrase, Quad, Sample, Segment, Turn


def finish(
    draft: Draft,
    key: str,
    images: Sequence[Image],
    *,
    split: str,
    source: str,
    licence: str,
    scale: bool = False,
) -> Sample:
    """The sample of `draft` with the pictures as they are stored.

    Regions are moved to the stored size where they were given in shares, or with `scale` (the recipe made the
    pictures smaller). Any other difference between the stated and the stored size is Refused `image_size`, as
    is a picture of other proportions.
    """
    if len(images) != len(draft.images):
        raise Refused("missing_image", f"{len(draft.images)} pictures are named, {len(images)} are there")
    factors = [
        _factor(one, two, draft.relative or scale) for one, two in zip(draft.images, images, strict=True)
    ]
    turns = draft.turns
    if any(factor != (1.0, 1.0) for factor in factors):
        turns = scaled(turns, factors)
    return Sample(key, draft.task, split, draft.language, source, licence, tuple(images), turns)


def scaled(turns: Sequence[Turn], factors: Sequence[tuple[float, float]]) -> tuple[Turn, ...]:
    """Turns whose regions are multiplied by the factors (across, down) of their picture."""
    moved, current = [], (1.0, 1.0)
    for turn in turns:
        segments: list[Segment] = []
        for segment in turn.segments:
            if isinstance(segment, ImageRef):
                current = factors[segment.image]
            elif isinstance(segment, Phrase):
                boxes = tuple(_box(box, current) for box in segment.boxes)
                quads = tuple(_quad(quad, current) for quad in segment.quads)
                segment = replace(segment, boxes=boxes, quads=quads)
            segments.append(segment)
        moved.append(Turn(turn.role, tuple(segments)))
    return tuple(moved)


def _factor(stated: Picture, stored: Image, scale: bool) -> tuple[float, float]:
    if stated.width == 0 or (stated.width, stated.height) == (stored.width, stored.height):
        return 1.0, 1.0
    across, down = stored.width / stated.width, stored.height / stated.height
    # rounding a side to whole pixels may move it by one
    alike = abs(stored.height - stated.height * across) <= 1 or abs(stored.width - stated.width * down) <= 1
    if not (scale and alike):
        raise Refused(
            "image_size",
            f"{stated.name}: annotated at {stated.width} x {stated.height}, "
            f"stored at {stored.width} x {stored.height}",
        )
    return across, down


def _box(box: Box, factor: tuple[float, float]) -> Box:
    across, down = factor
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _quad(quad: Quad, factor: tuple[float, float]) -> Quad:
    across, down = factor
    first, second, third, fourth = ((x * across, y * down) for x, y in quad)
    return first, second, third, fourth
