"""Which samples fit the stage-2 templates (arXiv 2308.12966, B.1), and where their targets begin."""

from collections.abc import Sequence
from typing import Final

from schemas.markup.problems import MarkupError
from schemas.sample import ImageRef, Phrase, Segment, Text

TEMPLATES: Final = {
    "caption": "pictures, then supervised words",
    "vqa": "pictures and a question, then a supervised answer",
    "grounding": "pictures, then a supervised caption with phrases",
    "referring": "one picture, then one supervised phrase with regions",
    "grounded_caption": "one picture, then one supervised phrase with regions",
    "ocr": "pictures, then supervised phrases",
    "text": "supervised words and no picture",
}
"""The tasks that have a template, with what a sample must look like to fit it; others are written plainly."""


def fit(segments: Sequence[Segment], task: str) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """The segments before what is taught, and those that are taught; MarkupError if they do not fit."""
    first = next((at for at, one in enumerate(segments) if taught(one)), len(segments))
    prefix, target = tuple(segments[:first]), tuple(segments[first:])
    if not target or not all(taught(one) for one in target) or not _fits(prefix, target, task):
        raise MarkupError(f"a sample of task {task} must be {TEMPLATES[task]}")
    return prefix, target


def taught(segment: Segment) -> bool:
    """Whether a segment is supervised; a picture never is."""
    return not isinstance(segment, ImageRef) and segment.supervised


def _fits(prefix: tuple[Segment, ...], target: tuple[Segment, ...], task: str) -> bool:
    pictures = all(isinstance(one, ImageRef) for one in prefix)
    if task == "text":
        return not prefix and all(isinstance(one, Text) for one in target)
    if task == "vqa":
        return not all(isinstance(one, ImageRef) for one in prefix)
    if task in ("referring", "grounded_caption"):
        phrase = target[0]
        regions = isinstance(phrase, Phrase) and bool(phrase.boxes or phrase.quads)
        return pictures and len(prefix) == 1 and len(target) == 1 and regions
    if task == "caption":
        return pictures and bool(prefix) and all(isinstance(one, Text) for one in target)
    return pictures and bool(prefix)
