"""Kosmos-2's text: <grounding> caption with <phrase>, and boxes as location tokens on a grid of 32 x 32.

A box is the tokens of its first and its last cell, read row by row. Reading gives cells' edges where a box is
one cell wide or high, else the centres of its corner cells, as the published decoder does. Lacks: quads, what
is taught (all is), turns.
"""

import math
import re
from collections.abc import Sequence
from typing import Final

from schemas.dialects.dialogue import CannotSay, Spelling
from schemas.markup.reader import MarkupError
from schemas.markup.render import merged
from schemas.markup.tags import Size, guard, unguard
from schemas.sample import Box, Phrase, Segment, Text

SIDE: Final = 32
"""Cells a side."""

_NEXT: Final = "</delimiter_of_multi_objects/>"
_PAIR: Final = r"<patch_index_[0-9]{4}><patch_index_[0-9]{4}>"
_OBJECT: Final = rf"<object>({_PAIR}(?:{_NEXT}{_PAIR})*)</object>"
_PHRASE: Final = re.compile(rf"<phrase>((?:[^<]|<(?!/?phrase>))*)</phrase>(?:{_OBJECT})?")
_TAGS: Final = Spelling("<", rf"/?(?:grounding|phrase|object|image)>|patch_index_[0-9]+>|{_NEXT[1:]}")
_TAG: Final = re.compile(rf"</?(?:grounding|phrase|object|image)>|<patch_index_[0-9]+>|{_NEXT}")


def to_kosmos2(segments: Sequence[Segment], size: Size) -> str:
    """Returns the grounded text of a caption's texts and phrases, in an image of `size`."""
    caption = merged([Text(" "), *_untaught(segments)])
    parts = ["<grounding>"]
    for index, segment in enumerate(caption):
        if isinstance(segment, Text):
            after = caption[index + 1] if index + 1 < len(caption) else None
            lent = isinstance(after, Phrase) and segment.text.endswith(" ")
            parts.append(_TAGS.escape(segment.text[:-1] if lent else segment.text))
        elif isinstance(segment, Phrase):
            before = caption[index - 1]
            lent = isinstance(before, Text) and before.text.endswith(" ")
            parts.append(f"<phrase>{' ' * lent}{_TAGS.escape(guard(segment.phrase))}</phrase>")
            if segment.boxes:
                tokens = _NEXT.join(_tokens(box, size) for box in segment.boxes)
                parts.append(f"<object>{tokens}</object>")
    return "".join(parts)


def from_kosmos2(text: str, size: Size) -> tuple[Segment, ...]:
    """Returns the texts and phrases of a grounded text, all of them supervised; raises MarkupError."""
    if not text.startswith("<grounding>"):
        raise MarkupError("a grounded text begins with <grounding>")
    read: list[Segment] = []
    at = len("<grounding>")
    for match in _PHRASE.finditer(text, at):
        read.append(_plain(text[at : match.start()]))
        at = match.end()
        words = _TAGS.unescape(match[1])
        if words.startswith(" "):
            read.append(Text(" ", supervised=True))
            words = words[1:]
        boxes = tuple(_box(pair, size) for pair in match[2].split(_NEXT)) if match[2] else ()
        read.append(Phrase(unguard(words), boxes, (), supervised=True))
    read.append(_plain(text[at:]))
    segments = merged(read)
    first = segments[0] if segments else None
    if isinstance(first, Text) and first.text.startswith(" "):
        segments = merged((Text(first.text[1:], supervised=True), *segments[1:]))
    return segments


def _untaught(segments: Sequence[Segment]) -> list[Segment]:
    plain: list[Segment] = []
    for segment in segments:
        if isinstance(segment, Text):
            plain.append(Text(segment.text))
        elif isinstance(segment, Phrase) and not segment.quads:
            plain.append(segment)
        else:
            raise CannotSay("quads", "Kosmos-2's text has neither quads nor images inside")
    return plain


def _plain(text: str) -> Text:
    stray = _TAG.search(text)
    if stray:
        raise MarkupError(f"{stray[0]} stands where it cannot")
    return Text(_TAGS.unescape(text), supervised=True)


def _tokens(box: Box, size: Size) -> str:
    x1, y1, x2, y2 = (min(max(v / side, 0.0), 1.0) * SIDE for v, side in zip(box, size * 2, strict=True))
    if not (x1 < x2 and y1 < y2):
        raise CannotSay("box", f"the box {list(box)} has no extent within the image")
    first = math.floor(y1) * SIDE + math.floor(x1)
    last = math.ceil(y2 - 1) * SIDE + math.ceil(x2 - 1)
    return f"<patch_index_{first:04d}><patch_index_{last:04d}>"


def _box(pair: str, size: Size) -> Box:
    first, last = (int(one) for one in re.findall(r"[0-9]{4}", pair))
    if max(first, last) >= SIDE * SIDE:
        raise MarkupError(f"{pair} is not on the grid of {SIDE} x {SIDE}")
    y1, x1, y2, x2 = *divmod(first, SIDE), *divmod(last, SIDE)
    near, far = (0.0, 1.0) if x1 == x2 or y1 == y2 else (0.5, 0.5)
    cells = (x1 + near, y1 + near, x2 + far, y2 + far)
    left, top, right, bottom = (round(c / SIDE * side, 2) for c, side in zip(cells, size * 2, strict=True))
    return left, top, right, bottom
