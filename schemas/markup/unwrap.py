"""A template taken off the segments that were read from it."""

from collections.abc import Sequence
from dataclasses import replace

from schemas.markup.problems import MarkupError
from schemas.markup.style import Style
from schemas.markup.templates import TEMPLATES, taught
from schemas.sample import ImageRef, Phrase, Segment, Text


def unwrap(segments: Sequence[Segment], task: str, style: Style) -> tuple[Segment, ...]:
    """The segments of the sample whose template for `task` gave `segments`; MarkupError if none can be."""
    if task not in TEMPLATES or task == "text":
        return tuple(segments)
    if task == "referring":
        return _referred(segments, task)
    if task == "grounded_caption":
        return _described(segments, task)
    first = next((at for at, one in enumerate(segments) if taught(one)), len(segments))
    prefix, target = list(segments[:first]), list(segments[first:])
    cue = style.cue(task, "")
    if cue:
        prefix = _without_answer(prefix, cue, task) if task == "vqa" else _only_images(prefix, task)
        if task != "ocr":
            target = _without_lead(target, task)
    return (*prefix, *target)


def _described(segments: Sequence[Segment], task: str) -> tuple[Segment, ...]:
    match segments:
        case [ImageRef() as image, Phrase(phrase="This") as region, Text(text=" is"), Text() as words] if (
            words.text.startswith(" ")
        ):
            return image, replace(region, phrase=words.text[1:], supervised=True)
    raise _unlike(task)


def _referred(segments: Sequence[Segment], task: str) -> tuple[Segment, ...]:
    if len(segments) == 2 and isinstance(segments[0], ImageRef) and isinstance(segments[1], Phrase):
        return tuple(segments)
    raise _unlike(task)


def _only_images(prefix: list[Segment], task: str) -> list[Segment]:
    """The prompt is the one text before what is taught."""
    if not prefix or not isinstance(prefix[-1], Text):
        raise _unlike(task)
    return prefix[:-1]


def _without_answer(prefix: list[Segment], cue: str, task: str) -> list[Segment]:
    last = prefix[-1] if prefix else None
    if not isinstance(last, Text) or not last.text.endswith(cue):
        raise _unlike(task)
    rest = last.text[: len(last.text) - len(cue)]
    return [*prefix[:-1], *([Text(rest)] if rest else [])]


def _without_lead(target: list[Segment], task: str) -> list[Segment]:
    first = target[0] if target else None
    if not isinstance(first, Text) or not first.text.startswith(" "):
        raise _unlike(task)
    rest = first.text[1:]
    return [*([Text(rest, supervised=True)] if rest else []), *target[1:]]


def _unlike(task: str) -> MarkupError:
    return MarkupError(f"the text does not follow the template of task {task}")
