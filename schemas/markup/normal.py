"""The one form among samples that are written alike."""

from collections.abc import Sequence
from dataclasses import replace

from schemas.markup.style import STAGE2, Style
from schemas.markup.tags import Size, box_cells, cells_box, cells_quad, quad_cells
from schemas.sample import ImageRef, Phrase, Sample, Segment, Text, Turn


def canonical(sample: Sample, style: Style = STAGE2) -> tuple[Turn, ...]:
    """The turns that `parse` gives back for `render(sample)`.

    Neighbouring texts of one supervision are one text, empty texts are gone, coordinates are cells' centres,
    and the system turn that the style adds by itself is left out.
    """
    sizes = [(one.width, one.height) for one in sample.images]
    turns = sample.turns
    if style.form != "document" and turns and is_default_system(turns[0], style):
        turns = turns[1:]
    shown, normal = -1, []
    for turn in turns:
        segments = []
        for segment in merged(turn.segments):
            if isinstance(segment, ImageRef):
                shown = segment.image
            segments.append(_snapped(segment, sizes, shown))
        normal.append(Turn(turn.role, tuple(segments)))
    return tuple(normal)


def merged(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Segments without empty texts, neighbouring texts of one supervision joined."""
    joined: list[Segment] = []
    for segment in segments:
        if isinstance(segment, Text):
            if not segment.text:
                continue
            last = joined[-1] if joined else None
            if isinstance(last, Text) and last.supervised == segment.supervised:
                joined[-1] = Text(last.text + segment.text, last.supervised)
                continue
        joined.append(segment)
    return tuple(joined)


def is_default_system(turn: Turn, style: Style) -> bool:
    """Whether a turn is the system turn that ChatML gets anyway."""
    return turn.role == "system" and merged(turn.segments) == merged((Text(style.system),))


def _snapped(segment: Segment, sizes: Sequence[Size], shown: int) -> Segment:
    if not isinstance(segment, Phrase) or not (segment.boxes or segment.quads):
        return segment
    size = sizes[shown]
    boxes = tuple(cells_box(box_cells(box, size), size) for box in segment.boxes)
    quads = tuple(
        cells_quad([cell for corner in quad_cells(quad, size) for cell in corner], size)
        for quad in segment.quads
    )
    return replace(segment, boxes=boxes, quads=quads)
