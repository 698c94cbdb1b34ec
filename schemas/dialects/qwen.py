"""Qwen-VL's finetune JSON: {id, conversations: [{from: user | assistant, value}]}, paths in <img>.

Lacks: a system turn (the script adds its own), turns of other speakers, words that are not taught in an
answer or are in a question.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from schemas.dialects.dialogue import Dialogue, broken, grid_box, spoken
from schemas.markup.parse import parse
from schemas.markup.reader import MarkupError
from schemas.markup.render import render
from schemas.markup.tags import IM_END, IM_START, TAG, Size, tokens, unescape
from schemas.sample import Example, ImageRef, Phrase, Turn

_SPEAKERS: Final = ("user", "assistant")


def to_qwen(example: Example, names: Sequence[str]) -> dict[str, Any]:
    """Returns the record of `example`, whose images are the files `names`; raises MarkupError."""
    turns = spoken(example, _SPEAKERS)
    _check_boxes(example, turns)
    # the turns are cut out of the ChatML that the finetune script would make of them
    text = render(_chat(example, turns), names=names).text
    parts = [part.partition("\n") for part in text.split(IM_START)[2:]]
    said = [
        {"from": role, "value": value.removesuffix("\n").removesuffix(IM_END)} for role, _, value in parts
    ]
    return {"id": example.key, "conversations": said}


def from_qwen(record: Mapping[str, Any], size_of: Callable[[str], Size | None]) -> Dialogue:
    """Returns the dialogue of a record; `size_of` gives the size of an image by its name, None of an unknown one.

    Raises MarkupError, whose place counts characters of the turn's own text.
    """
    turns = record.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise MarkupError("conversations must be a list of objects")
    parts = []
    for turn in turns:
        role, value = turn.get("from"), turn.get("value")
        if role not in _SPEAKERS or not isinstance(value, str):
            raise MarkupError("a turn must be from user or assistant, with a text as its value")
        if any(tag in (IM_START, IM_END) for tag in TAG.findall(value)):
            raise MarkupError("a turn holds a tag that would end it")
        parts.append((f"{IM_START}{role}\n", f"{value}{IM_END}\n"))
    text = "".join(head + value for head, value in parts)
    names = _names(text)
    sizes = [size_of(name) for name in names]
    missing = [name for name, size in zip(names, sizes, strict=True) if size is None]
    if missing:
        raise MarkupError(f"the size of the image {missing[0]!r} is not known")
    try:
        read = parse(text, [size for size in sizes if size], names=names) if text else None
    except MarkupError as error:
        raise _placed(error, parts) from error
    return Dialogue(str(record.get("id", "")), tuple(names), read.turns if read else ())


def _placed(error: MarkupError, parts: Sequence[tuple[str, str]]) -> MarkupError:
    """Returns the error with its place counted in the text of its own turn."""
    problem = error.problem
    if problem is None:
        return error
    start, end = problem.start, problem.end
    for number, (head, value) in enumerate(parts):
        if start < len(head) + len(value):
            place = (max(start - len(head), 0), max(end - len(head), 0))
            moved = broken(problem.kind, place, problem.message)
            return MarkupError(f"turn {number}, {moved}", moved.problem)
        start, end = start - len(head) - len(value), end - len(head) - len(value)
    return error


def _chat(example: Example, turns: tuple[Turn, ...]) -> Example:
    return Example(
        *(example.key, "chat", example.split, example.language, example.source, example.licence),
        *(example.images, turns),
    )


def _check_boxes(example: Example, turns: Sequence[Turn]) -> None:
    size: Size | None = None
    for turn in turns:
        for segment in turn.segments:
            if isinstance(segment, ImageRef):
                size = (example.images[segment.image].width, example.images[segment.image].height)
            elif isinstance(segment, Phrase):
                for box in segment.boxes:
                    grid_box(box, size)


def _names(text: str) -> list[str]:
    found = tokens(text)
    names = []
    for at, token in enumerate(found[:-2]):
        inside = found[at + 1]
        if token.tag == "<img>" and inside.tag == "":
            names.append(unescape(text[inside.start : inside.end]))
    return list(dict.fromkeys(names))
