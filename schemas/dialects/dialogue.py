"""What the readers of chat dialects give, and samples of one document turn as a dialogue.

Text that spells a dialect's own marks, kept text: a backslash after the first character of each mark.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from schemas.markup.reader import MarkupError, Problem
from schemas.markup.render import merged
from schemas.markup.style import STAGE2, TEMPLATES, fit
from schemas.markup.tags import GRID, Size, box_cells
from schemas.sample import Box, Example, ImageRef, Phrase, Segment, Text, Turn

LACKS: Final = {
    "task": "the dialect has no form for a view of this task",
    "role": "the dialect has no turn of this role",
    "quads": "the dialect has no quads",
    "words": "the dialect has no place for words beside boxes",
    "loss": "the dialect teaches all of an answer and nothing of a question",
    "box": "a box has no extent on the dialect's grid, or no image",
    "text": "the dialect would read the words as its own marks",
    "images": "the dialect shows one image first, and no other",
}
"""Why a dialect cannot say a view."""

THOUSANDTHS: Final[Size] = (GRID, GRID)
"""The size of any image, where its regions are in thousandths of its sides."""

TextReader = Callable[[str, bool, int], tuple[tuple[Segment, ...], int]]
"""Reads a turn's text: (text, whether it is taught, images shown before) to its segments and the images shown by then.

Images are numbered as shown. Raises MarkupError, whose place counts characters of the text.
"""


class CannotSay(MarkupError):
    """Raised by a writer for a view that its dialect cannot say; `reason` is a key of LACKS."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or LACKS[reason])
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue as read: its id, the names of its images in order of appearance, and its turns."""

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]


def as_chat(example: Example) -> Example:
    """Returns `example` as question and answer: a document turn is split where its template's target begins.

    MarkupError for a document that has no question: pure text, interleaved documents.
    """
    if [turn.role for turn in example.turns] != ["document"]:
        return example
    if example.task not in TEMPLATES or example.task == "text":
        raise CannotSay("task", f"a document of task {example.task} has no question, so it is no dialogue")
    prefix, target = fit(merged(example.turns[0].segments), example.task)
    asked, answered = _halves(example, prefix, target)
    return replace(example, turns=(Turn("user", merged(asked)), Turn("assistant", merged(answered))))


def spoken(example: Example, roles: Sequence[str]) -> tuple[Turn, ...]:
    """Returns the turns of `example` as question and answer, each of one of `roles`.

    CannotSay where another speaks, an answer has words that are not taught, or a question has some that are.
    """
    turns = as_chat(example).turns
    for turn in turns:
        if turn.role not in roles:
            raise CannotSay("role", f"there is no turn of {turn.role}")
        said = [one for one in merged(turn.segments) if not isinstance(one, ImageRef)]
        if any(one.supervised != (turn.role == "assistant") for one in said):
            raise CannotSay("loss")
    return turns


def grid_box(box: Box, size: Size | None) -> tuple[int, int, int, int]:
    """Returns the cells of a box on the grid of 1000; CannotSay where it has no extent there, or no image."""
    if size is None:
        raise CannotSay("box", "a box stands before any image")
    x1, y1, x2, y2 = cells = box_cells(box, size)
    if not (x1 < x2 and y1 < y2):
        raise CannotSay("box", f"the box {list(box)} has no extent on the grid of {GRID}")
    return cells


def read_box(values: Any, limit: float, place: tuple[int, int]) -> Box:
    """Returns the box [x1, y1, x2, y2] of numbers up to `limit`; raises MarkupError, whose problem lies at `place`."""
    if not isinstance(values, list | tuple) or len(values) != 4 or not all(map(_is_number, values)):
        raise broken("coordinates", place, f"{repr(values)[:80]} is no box of four numbers")
    x1, y1, x2, y2 = values
    if min(values) < 0 or max(values) > limit:
        raise broken("range", place, f"{list(values)} is not between 0 and {limit:g}")
    if x2 < x1 or y2 < y1:
        raise broken("order", place, f"the box {list(values)} is not top left, bottom right")
    if x1 == x2 or y1 == y2:
        raise broken("flat", place, f"the box {list(values)} has no extent")
    return x1, y1, x2, y2


def broken(kind: str, place: tuple[int, int], message: str) -> MarkupError:
    """Returns the error for markup that cannot be read, at the characters `place` of a turn's text."""
    return MarkupError(f"at character {place[0]}: {message}", Problem(kind, *place, message))


def _is_number(value: object) -> bool:
    # a whole number may be too large for a float; NaN is below nothing
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _halves(
    example: Example, prefix: Sequence[Segment], target: Sequence[Segment]
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    first = target[0]
    if example.task == "vqa":
        return tuple(prefix), tuple(target)
    if example.task == "referring" and isinstance(first, Phrase):
        return (*prefix, Phrase(first.phrase)), tuple(target)
    if example.task == "grounded_caption" and isinstance(first, Phrase):
        regions = Phrase("This", first.boxes, first.quads)
        return (*prefix, regions, Text(" is")), (Text(first.phrase, supervised=True),)
    return (*prefix, Text(STAGE2.cue(example.task, example.language))), tuple(target)


def shown(turns: Sequence[Turn]) -> list[int]:
    """Returns the images of a dialogue in the order in which they are shown, with repeats."""
    return [one.image for turn in turns for one in turn.segments if isinstance(one, ImageRef)]


class Spelling:
    """Marks that begin with the character `first` and go on as the pattern `rest` says."""

    def __init__(self, first: str, rest: str) -> None:
        self._first = first
        self._spelled = re.compile(rf"{re.escape(first)}(?=\\*(?:{rest}))")
        self._escaped = re.compile(rf"{re.escape(first)}\\(?=\\*(?:{rest}))")

    def escape(self, text: str) -> str:
        """Returns `text` without a mark: each that it spells has one more backslash after its first character."""
        return self._spelled.sub(lambda _: self._first + "\\", text)

    def unescape(self, text: str) -> str:
        """Returns what `escape` was given."""
        return self._escaped.sub(lambda _: self._first, text)
