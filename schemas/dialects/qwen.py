"""Qwen-VL's finetune JSON: {id, conversations: [{from: user | assistant, value}]}, paths in <img>.

Lacks: a system turn (the script adds its own), turns of other speakers, words that are not taught in an
answer or are in a question.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.dialects.dialogue import Dialogue, as_chat
from schemas.markup.parse import parse
from schemas.markup.reader import MarkupError
from schemas.markup.render import render
from schemas.markup.tags import IM_END, IM_START, TAG, Size, tokens, unescape
from schemas.sample import Example

_SPEAKERS: Final = ("user", "assistant")


def to_qwen(example: Example, names: Sequence[str]) -> dict[str, Any]:
    """Returns the record of `example`, whose images are the files `names`."""
    chat = as_chat(example)
    for turn in chat.turns:
        if turn.role not in _SPEAKERS:
            raise MarkupError(f"the finetune JSON has no turn of {turn.role}")
    # the turns are cut out of the ChatML that the finetune script would make of them
    text = render(chat, names=names).text
    turns = [part.partition("\n") for part in text.split(IM_START)[2:]]
    said = [
        {"from": role, "value": value.removesuffix("\n").removesuffix(IM_END)} for role, _, value in turns
    ]
    return {"id": example.key, "conversations": said}


def from_qwen(record: Mapping[str, Any], sizes: Mapping[str, Size]) -> Dialogue:
    """Returns the dialogue of a record; `sizes` are those of the images by name. Raises MarkupError."""
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
        parts.append(f"{IM_START}{role}\n{value}{IM_END}\n")
    text = "".join(parts)
    names = _names(text)
    missing = [name for name in names if name not in sizes]
    if missing:
        raise MarkupError(f"the size of the image {missing[0]!r} is not known")
    read = parse(text, [sizes[name] for name in names], names=names) if text else None
    return Dialogue(str(record.get("id", "")), tuple(names), read.turns if read else ())


def _names(text: str) -> list[str]:
    found = tokens(text)
    names = []
    for at, token in enumerate(found[:-2]):
        inside = found[at + 1]
        if token.tag == "<img>" and inside.tag == "":
            names.append(unescape(text[inside.start : inside.end]))
    return list(dict.fromkeys(names))
