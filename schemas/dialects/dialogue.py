"""What the readers of chat dialects give, and samples of one document turn as a dialogue."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.markup.normal import merged
from schemas.markup.problems import MarkupError
from schemas.markup.style import STAGE2, Style
from schemas.markup.templates import TEMPLATES, fit
from schemas.sample import ImageRef, Phrase, Sample, Segment, Text, Turn


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue as read: its id, the names of its pictures in order of appearance, and its turns."""

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]


def as_chat(sample: Sample, style: Style = STAGE2) -> Sample:
    """`sample` as question and answer: a document turn is split where its template's target begins.

    MarkupError for a document that has no question: pure text, interleaved documents.
    """
    if [turn.role for turn in sample.turns] != ["document"]:
        return sample
    if sample.task not in TEMPLATES or sample.task == "text":
        raise MarkupError(f"a document of task {sample.task} has no question, so it is no dialogue")
    prefix, target = fit(merged(sample.turns[0].segments), sample.task)
    asked, answered = _halves(sample, prefix, target, style)
    return replace(sample, turns=(Turn("user", merged(asked)), Turn("assistant", merged(answered))))


def _halves(
    sample: Sample, prefix: Sequence[Segment], target: Sequence[Segment], style: Style
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    first = target[0]
    if sample.task == "vqa":
        return tuple(prefix), tuple(target)
    if sample.task == "referring" and isinstance(first, Phrase):
        return (*prefix, Phrase(first.phrase)), tuple(target)
    if sample.task == "grounded_caption" and isinstance(first, Phrase):
        regions = Phrase("This", first.boxes, first.quads)
        return (*prefix, regions, Text(" is")), (Text(first.phrase, supervised=True),)
    return (*prefix, Text(style.cue(sample.task, sample.language))), tuple(target)


def shown(turns: Sequence[Turn]) -> list[int]:
    """The pictures of a dialogue in the order in which they are shown, with repeats."""
    return [one.image for turn in turns for one in turn.segments if isinstance(one, ImageRef)]
