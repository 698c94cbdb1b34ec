"""LLaVA JSON: {id, image, conversations: [{from: human | gpt, value}]}, <image> where an image stands.

`image` is one name, or a list with a name for each <image>. A box is [x1, y1, x2, y2] as shares of the stored
image's sides, three decimals (LLaVA-1.5 pads images to a square: its loader must move boxes along).
Lacks: where a phrase begins (its words become text, its boxes a phrase without words), quads, words that are
not taught in an answer or are in a question.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.dialects.dialogue import Dialogue, Spelling, as_chat, shown
from schemas.markup.reader import MarkupError
from schemas.markup.render import merged
from schemas.markup.tags import Size
from schemas.sample import Box, Example, ImageRef, Phrase, Segment, Text, Turn

_TO: Final = {"system": "system", "user": "human", "assistant": "gpt"}
_FROM: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_SHARE: Final = r"[01](?:\.[0-9]{1,6})?"
_BOX: Final = rf"\[{_SHARE}, {_SHARE}, {_SHARE}, {_SHARE}\]"
_MARK: Final = re.compile(rf"(<image>\n?)|({_BOX})")
_IMAGE: Final = Spelling("<", "image>")
_BRACKET: Final = Spelling("[", _BOX[2:])


def to_llava(example: Example, names: Sequence[str]) -> dict[str, Any]:
    """Returns the record of `example`, whose images are the files `names`."""
    turns = as_chat(example).turns
    sizes = [(image.width, image.height) for image in example.images]
    current: Size | None = None
    said = []
    for turn in turns:
        if turn.role not in _TO:
            raise MarkupError(f"LLaVA JSON has no turn of {turn.role}")
        value = []
        for segment in merged(words_apart(turn.segments)):
            if isinstance(segment, ImageRef):
                current = sizes[segment.image]
                value.append("<image>\n")
            elif isinstance(segment, Text):
                value.append(_BRACKET.escape(_IMAGE.escape(segment.text)))
            else:
                value += [_box_text(box, current) for box in segment.boxes]
        said.append({"from": _TO[turn.role], "value": "".join(value)})
    order = [names[index] for index in shown(turns)]
    record: dict[str, Any] = {"id": example.key, "conversations": said}
    if order:
        record["image"] = order[0] if len(order) == 1 else order
    return record


def from_llava(record: Mapping[str, Any], sizes: Mapping[str, Size]) -> Dialogue:
    """Returns the dialogue of a record; `sizes` are those of the images by name. Raises MarkupError."""
    listed = record.get("image", [])
    order = [listed] if isinstance(listed, str) else listed
    turns = record.get("conversations")
    if not isinstance(turns, list) or not isinstance(order, list):
        raise MarkupError("conversations must be a list, image a name or a list")
    names = list(dict.fromkeys(str(name) for name in order))
    places = [names.index(str(name)) for name in order]
    at = 0
    read = []
    for turn in turns:
        role = _FROM.get(str(turn.get("from"))) if isinstance(turn, dict) else None
        if role is None or not isinstance(turn.get("value"), str):
            raise MarkupError("a turn must be from human or gpt, with a text as its value")
        segments, at = _segments(turn["value"], role == "assistant", at, places, [sizes[n] for n in names])
        read.append(Turn(role, segments))
    if at != len(places):
        raise MarkupError(f"{len(places)} images are listed, {at} shown")
    return Dialogue(str(record.get("id", "")), tuple(names), tuple(read))


def words_apart(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Returns segments as LLaVA's text can say them: a phrase's words are text, its boxes follow without words."""
    apart: list[Segment] = []
    for segment in segments:
        if not isinstance(segment, Phrase):
            apart.append(segment)
            continue
        if segment.quads:
            raise MarkupError("LLaVA JSON has no quads")
        space = " " if segment.phrase and segment.boxes else ""
        apart.append(Text(segment.phrase + space, segment.supervised))
        if segment.boxes:
            apart.append(Phrase("", segment.boxes, (), segment.supervised))
    return tuple(apart)


def _segments(
    value: str, taught: bool, at: int, places: Sequence[int], sizes: Sequence[Size]
) -> tuple[tuple[Segment, ...], int]:
    read: list[Segment] = []
    end = 0
    for match in [*_MARK.finditer(value), None]:
        text = value[end : match.start() if match else len(value)]
        if text:
            read.append(Text(_IMAGE.unescape(_BRACKET.unescape(text)), taught))
        if match is None:
            break
        end = match.end()
        if match[1]:
            if at >= len(places):
                raise MarkupError(f"{len(places)} images are listed, more are shown")
            read.append(ImageRef(places[at]))
            at += 1
        else:
            _add_box(read, match[2], taught, sizes[places[at - 1]] if at else None)
    return tuple(read), at


def _add_box(read: list[Segment], text: str, taught: bool, size: Size | None) -> None:
    if size is None:
        raise MarkupError("a box stands before any image")
    x1, y1, x2, y2 = (float(one) for one in text[1:-1].split(", "))
    box = (round(x1 * size[0], 2), round(y1 * size[1], 2), round(x2 * size[0], 2), round(y2 * size[1], 2))
    last = read[-1] if read else None
    if isinstance(last, Phrase):
        read[-1] = Phrase("", (*last.boxes, box), (), taught)
    else:
        read.append(Phrase("", (box,), (), taught))


def _box_text(box: Box, size: Size | None) -> str:
    if size is None:
        raise MarkupError("a box stands before any image")
    shares = [min(max(v / side, 0.0), 1.0) for v, side in zip(box, size * 2, strict=True)]
    return f"[{', '.join(f'{share:.3f}' for share in shares)}]"
