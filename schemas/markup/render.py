"""An example as text: the stage-2 templates (arXiv 2308.12966, B.1) and ChatML (B.2); and the one form of examples that
are written alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from schemas.markup.reader import MarkupError
from schemas.markup.style import STAGE2, TEMPLATES, Style, fit
from schemas.markup.tags import (
    EOS,
    IM_END,
    IM_START,
    Piece,
    Rendered,
    Size,
    assemble,
    box_cells,
    cells_box,
    cells_quad,
    escape,
    guard,
    nearest,
    quad_cells,
)
from schemas.sample import Box, Example, ImageRef, Phrase, Quad, Segment, Text, Turn


def render(example: Example, style: Style = STAGE2, names: Sequence[str] | None = None) -> Rendered:
    """Returns the text of `example`, with the characters that carry loss and the places of its images.

    Between <img> and </img> stands the image's number in the example, or its name of `names`.
    MarkupError where the example does not fit its task's template, or a box has no extent or no image.
    """
    writer = _Writer([(one.width, one.height) for one in example.images], names, style.coarse)
    form = style.form
    if form == "auto":
        form = "document" if [turn.role for turn in example.turns] == ["document"] else "chat"
    if form == "chat":
        return assemble(writer.chat(example.turns, style), "")
    if [turn.role for turn in example.turns] != ["document"]:
        raise MarkupError("only an example of one document turn can be written as a document")
    task = example.task if example.task in TEMPLATES else ""
    segments = merged(example.turns[0].segments)
    return assemble(writer.document(segments, task, style.cue(task, example.language)), task)


@dataclass(slots=True)
class _Writer:
    sizes: Sequence[Size]
    names: Sequence[str] | None
    coarse: int
    shown: int = -1

    def document(self, segments: Sequence[Segment], task: str, cue: str) -> Iterator[Piece]:
        prefix, target = fit(segments, task) if task else ((), segments)
        yield from self.content(prefix)
        if task == "referring":
            yield from self.referring(target[0])
        elif task == "grounded_caption":
            yield from self.described(target[0], cue)
        else:
            yield Piece(cue)
            lead = [Text(" ", supervised=True)] if cue and task != "ocr" else []
            yield from self.content(merged([*lead, *target]), spaced=task == "ocr")
        yield Piece(EOS, "tag", loss=True)

    def referring(self, segment: Segment) -> Iterator[Piece]:
        """Returns the phrase is asked, its regions are taught."""
        assert isinstance(segment, Phrase)
        yield from _ref(guard(segment.phrase), loss=False)
        yield from self.regions(segment, loss=True)

    def described(self, segment: Segment, cue: str) -> Iterator[Piece]:
        """Returns the regions are asked, the phrase is taught."""
        assert isinstance(segment, Phrase)
        yield from _ref("This", loss=False)
        yield from self.regions(segment, loss=False)
        yield Piece(cue)
        yield Piece(" " + segment.phrase, loss=True)

    def chat(self, turns: Sequence[Turn], style: Style) -> Iterator[Piece]:
        if not turns or turns[0].role != "system" or is_default_system(turns[0], style):
            turns = turns[1:] if turns and is_default_system(turns[0], style) else turns
            turns = [Turn("system", (Text(style.system),)), *turns]
        count = 0
        for turn in turns:
            yield Piece(IM_START, "tag", loss=True)
            yield Piece(turn.role)
            yield Piece("\n")
            segments = merged(turn.segments)
            yield from self.content(segments, picture=count)
            count += sum(isinstance(segment, ImageRef) for segment in segments)
            yield Piece(IM_END, "tag", loss=True)
            yield Piece("\n", loss=True)

    def content(
        self, segments: Sequence[Segment], *, picture: int | None = None, spaced: bool = False
    ) -> Iterator[Piece]:
        """Returns segments in order; `picture` numbers images, `spaced` parts phrases by a space before <ref>."""
        inside = False
        for index, segment in enumerate(segments):
            if isinstance(segment, Text):
                after = segments[index + 1] if index + 1 < len(segments) else None
                inside = not spaced and _lends_space(segment, after)
                yield Piece(segment.text[:-1] if inside else segment.text, loss=segment.supervised)
            elif isinstance(segment, ImageRef):
                picture = None if picture is None else picture + 1
                yield from self.image(segment.image, picture)
                inside = False
            else:
                if spaced:
                    yield Piece(" ", loss=segment.supervised)
                yield from _ref(" " * inside + guard(segment.phrase), segment.supervised)
                yield from self.regions(segment, segment.supervised)
                inside = False

    def image(self, index: int, picture: int | None) -> Iterator[Piece]:
        name = str(index) if self.names is None else escape(self.names[index])
        self.shown = index
        if picture is not None:
            yield Piece(f"Picture {picture}: ")
        yield Piece(f"<img>{name}</img>", "image", image=index)
        if picture is not None:
            yield Piece("\n")

    def regions(self, phrase: Phrase, loss: bool) -> Iterator[Piece]:
        if (phrase.boxes or phrase.quads) and self.shown < 0:
            raise MarkupError(f"the regions of {phrase.phrase!r} stand before any image")
        # what is asked stays exact: it is not for the model to say
        coarse = self.coarse if loss else 1
        for box in phrase.boxes:
            yield from _coordinates("box", _box_text(box, self.sizes[self.shown], coarse), loss)
        for quad in phrase.quads:
            yield from _coordinates("quad", _quad_text(quad, self.sizes[self.shown], coarse), loss)


def _lends_space(text: Text, after: Segment | None) -> bool:
    """Returns whether the text's last space goes inside the <ref> that follows, as in published samples."""
    same = isinstance(after, Phrase) and after.supervised == text.supervised
    return same and text.text.endswith(" ")


def _ref(words: str, loss: bool) -> Iterator[Piece]:
    yield Piece("<ref>", "tag", loss)
    yield Piece(words, "text", loss)
    yield Piece("</ref>", "tag", loss)


def _coordinates(tag: str, text: str, loss: bool) -> Iterator[Piece]:
    yield Piece(f"<{tag}>", "tag", loss)
    yield Piece(text, "text", loss)
    yield Piece(f"</{tag}>", "tag", loss)


def _box_text(box: Box, size: Size, coarse: int) -> str:
    if not (box[0] < box[2] and box[1] < box[3]):
        raise MarkupError(f"the box {list(box)} is not top left, bottom right with an extent")
    x1, y1, x2, y2 = (nearest(cell, coarse) for cell in box_cells(box, size))
    return f"({x1},{y1}),({x2},{y2})"


def _quad_text(quad: Quad, size: Size, coarse: int) -> str:
    return ",".join(f"({nearest(x, coarse)},{nearest(y, coarse)})" for x, y in quad_cells(quad, size))


def canonical(example: Example, style: Style = STAGE2) -> tuple[Turn, ...]:
    """Returns the turns that `parse` gives back for `render(example)`.

    Neighbouring texts of one supervision are one text, empty texts are gone, coordinates are cells' centres,
    and the system turn that the style adds by itself is left out.
    """
    sizes = [(one.width, one.height) for one in example.images]
    turns = example.turns
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
    """Returns segments without empty texts, neighbouring texts of one supervision joined."""
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
    """Returns whether a turn is the system turn that ChatML gets anyway."""
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
