"""What the readers of chat dialects give, and samples of one document turn as a dialogue.

Text that spells a dialect's own marks, kept text: a backslash after the first character of each mark.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.markup.reader import MarkupError
from schemas.markup.render import merged
from schemas.markup.style import STAGE2, TEMPLATES, fit
from schemas.sample import Example, ImageRef, Phrase, Segment, Text, Turn


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
        raise MarkupError(f"a document of task {example.task} has no question, so it is no dialogue")
    prefix, target = fit(merged(example.turns[0].segments), example.task)
    asked, answered = _halves(example, prefix, target)
    return replace(example, turns=(Turn("user", merged(asked)), Turn("assistant", merged(answered))))


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
