"""LLaVA JSON: {id, image, conversations: [{from: human | gpt, value}]}, <image> where an image stands.

`image` is one name, or a list with a name for each <image>. A box is [x1, y1, x2, y2] as shares of the stored
image's sides, three decimals (LLaVA-1.5 pads images to a square: its loader must move boxes along).
Lacks: where a phrase begins (its words become text, its boxes a phrase without words), quads, words that are
not taught in an answer or are in a question.
"""

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final

from schemas.dialects.dialogue import CannotSay, Spelling, broken, read_box, shown, spoken
from schemas.markup.render import merged
from schemas.markup.tags import GRID, Size
from schemas.sample import Box, Example, ImageRef, Phrase, Segment, Text, Turn

SPEAKERS: Final = {"system": "system", "user": "human", "assistant": "gpt"}
"""Our roles by what LLaVA calls them."""
_NUMBER: Final = r" ?-?[0-9]{1,7}\.[0-9]{1,7}"
BOX: Final = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER} ?\]")
"""A box in text, whatever its numbers: all four have a decimal point, so that a list of counts is none."""
_OVERSHOOT: Final = 2
"""Beyond it a number is no share of a side that leaves its image a little."""
_MARK: Final = re.compile(rf"(<image>\n?|\n<image>\Z)|({BOX.pattern})")
IMAGE_MARKS: Final = Spelling("<", "(?:image|video)>")
_BRACKET: Final = Spelling("[", BOX.pattern[2:])


def to_llava(example: Example, names: Sequence[str]) -> dict[str, Any]:
    """Returns the record of `example`, whose images are the files `names`; raises MarkupError."""
    turns = tuple(Turn(one.role, words_apart(one.segments)) for one in spoken(example, list(SPEAKERS)))
    return record_of(
        example,
        names,
        turns,
        lambda text: _BRACKET.escape(IMAGE_MARKS.escape(text)),
        lambda phrases, size: "".join(_box_text(box, size) for one in phrases for box in one.boxes),
    )


def record_of(
    example: Example,
    names: Sequence[str],
    turns: Sequence[Turn],
    words: Callable[[str], str],
    regions: Callable[[Sequence[Phrase], Size | None], str],
) -> dict[str, Any]:
    """Returns a record with <image> for each image; `words` writes a text, `regions` neighbouring phrases."""
    current: Size | None = None
    said = []
    for turn in turns:
        value = []
        for kind, run in groupby(merged(turn.segments), type):
            if kind is Phrase:
                value.append(regions([one for one in run if isinstance(one, Phrase)], current))
                continue
            for segment in run:
                if isinstance(segment, ImageRef):
                    current = (example.images[segment.image].width, example.images[segment.image].height)
                    value.append("<image>\n")
                elif isinstance(segment, Text):
                    value.append(words(segment.text))
        said.append({"from": SPEAKERS[turn.role], "value": "".join(value)})
    order = [names[index] for index in shown(turns)]
    record: dict[str, Any] = {"id": example.key, "conversations": said}
    if order:
        record["image"] = order[0] if len(order) == 1 else order
    return record


def read_llava(text: str, taught: bool, count: int) -> tuple[tuple[Segment, ...], int]:
    """Returns what a turn's text says, boxes in thousandths of the sides, and the images shown by then."""
    read: list[Segment] = []
    end = 0
    for match in _MARK.finditer(text):
        _add_text(read, text[end : match.start()], taught)
        end = match.end()
        if match[1]:
            read.append(ImageRef(count))
            count += 1
        else:
            values = [float(one) for one in match[2][1:-1].split(",")]
            if max(values) > _OVERSHOOT:
                raise broken("pixels", match.span(), f"{values} are no shares of the sides")
            x1, y1, x2, y2 = read_box(values, 1, match.span())
            box = (x1 * GRID, y1 * GRID, x2 * GRID, y2 * GRID)
            last = read[-1] if read else None
            boxes = last.boxes if isinstance(last, Phrase) else ()
            read[-1:] = [] if isinstance(last, Phrase) else read[-1:]
            read.append(Phrase("", (*boxes, box), (), taught))
    _add_text(read, text[end:], taught)
    return tuple(read), count


def words_apart(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Returns segments as LLaVA's text can say them: a phrase's words are text, its boxes follow without words."""
    apart: list[Segment] = []
    for segment in segments:
        if not isinstance(segment, Phrase):
            apart.append(segment)
            continue
        if segment.quads:
            raise CannotSay("quads")
        space = " " if segment.phrase and segment.boxes else ""
        apart.append(Text(segment.phrase + space, segment.supervised))
        if segment.boxes:
            apart.append(Phrase("", segment.boxes, (), segment.supervised))
    return tuple(apart)


def _add_text(read: list[Segment], text: str, taught: bool) -> None:
    if text:
        read.append(Text(IMAGE_MARKS.unescape(_BRACKET.unescape(text)), taught))


def _box_text(box: Box, size: Size | None) -> str:
    if size is None:
        raise CannotSay("box", "a box stands before any image")
    shares = [f"{min(max(v / side, 0.0), 1.0):.3f}" for v, side in zip(box, size * 2, strict=True)]
    if shares[0] >= shares[2] or shares[1] >= shares[3]:
        raise CannotSay("box", f"the box {list(box)} has no extent to three decimals of its image's sides")
    return f"[{', '.join(shares)}]"
