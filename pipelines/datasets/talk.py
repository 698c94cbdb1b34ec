"""Records of dialogues in the shapes that people publish: who says what, and which images are shown.

    {"conversations": [{"from", "value"}]}            LLaVA, ShareGPT, Qwen-VL
    {"messages": [{"role", "content"}]}               OpenAI, Qwen2-VL and later, ms-swift
    {"query", "response", "history": [[q, a]]}        ms-swift
    {"instruction", "input", "output", "history"}     alpaca

with `image` or `images`, `system`, and ms-swift's `objects`. A content may be a list of typed parts.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from pipelines.datasets.drafts import check_unicode, named
from pipelines.datasets.reasons import Refused

ROLES: Final = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}
"""Our roles by the names under which speakers are published."""

IMAGE: Final = "<image>"
"""Where an image stands in a text."""

SHAPES: Final = {
    "conversations": (),
    "messages": (),
    "query": ("response",),
    "instruction": ("output",),
}
"""By the field that tells a shape from others, the fields that it also has."""

_MEDIA: Final = ("video", "videos", "audio", "audios")
_PLACE: Final = re.compile(r"^\s*<(video|audio)>|<(video|audio)>\s*\Z", re.MULTILINE)
"""Where a video or a sound stands in a user's turn, unless the tag is closed there, as in HTML."""

_UNREAD: Final = (
    *("tools", "functions", "function_call", "tool_calls", "chosen", "rejected", "rejected_response"),
    *("rejected_images", "rejected_messages", "bbox", "bboxes", "boxes", "regions", "points", "masks"),
    *("segmentation", "documents", "files"),
)
"""Fields of a record that carry data of which nothing is read."""
_UNREAD_IN_TURN: Final = (
    *("tools", "tool_calls", "function_call", "tool_call_id", "image", "images", "objects"),
    *("reasoning_content", "reasoning", "thinking"),
)
_NOT_TAUGHT: Final = ("loss", "weight")
"""Fields of a turn that may say that it is not taught."""


class Said(NamedTuple):
    """One turn: who speaks (a role of ours), and what."""

    role: str
    text: str


class Talk(NamedTuple):
    """A record's turns in order, and the names of its images in the order in which they are shown."""

    said: list[Said]
    names: list[str]


def talk_of(value: Mapping[str, Any]) -> Talk:
    """Returns who says what; raises Refused where a field is missing, wrong, or carries data that is not read."""
    check_fields(value, _UNREAD)
    if value.get("label") is False:
        raise Refused("unread_field", "label: false says that the answer is a rejected one")
    shapes = [name for name, more in SHAPES.items() if name in value and all(one in value for one in more)]
    if len(shapes) != 1:
        shown = ", ".join(sorted(map(str, value)))[:200] or "none"
        raise Refused(
            "bad_record",
            f"one of conversations, messages, query with response, instruction with output is needed; fields: {shown}",
        )
    names = _names(value)
    read = _turns(value[shapes[0]], names) if shapes[0] in ("conversations", "messages") else _pairs(value)
    said = [*_system(value), *read]
    for number, one in enumerate(said):
        if one.role not in ROLES.values():
            raise Refused("out_of_turn", f"turn {number} is of {one.role}")
        _check_media(number, one)
        check_unicode(one.text)
    return Talk(said, names)


def _check_media(number: int, said: Said) -> None:
    """Raises Refused where a user's turn shows a video or plays a sound, whose field the record may lack."""
    if said.role != "user":
        return
    for place in _PLACE.finditer(said.text):
        name = place[1] or place[2]
        if f"</{name}>" not in said.text:
            raise Refused("other_media", f"turn {number} shows <{name}>")


def check_fields(value: Mapping[str, Any], unread: tuple[str, ...], where: str = "") -> None:
    """Raises Refused where one of the fields, or one of video or audio, holds anything."""
    for name in (*_MEDIA, *unread):
        if value.get(name) not in (None, "", [], {}):
            reason = "other_media" if name in _MEDIA else "unread_field"
            raise Refused(
                reason, f"{where}the field {name!r} is not read: take it out, or leave the record out"
            )


def _system(value: Mapping[str, Any]) -> list[Said]:
    system = value.get("system")
    if system in (None, ""):
        return []
    if not isinstance(system, str):
        raise Refused("bad_record", "system holds no text")
    return [Said("system", system)]


def _turns(turns: Any, names: list[str]) -> list[Said]:
    said = []
    for number, turn in enumerate(turns):
        speaker, content = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        role = ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            raise Refused("out_of_turn", f"turn {number} is of {repr(speaker)[:80]}")
        check_fields(turn, _UNREAD_IN_TURN, f"turn {number}: ")
        if role == "assistant" and any(turn.get(one) in (False, 0) for one in _NOT_TAUGHT if one in turn):
            raise Refused("unread_field", f"turn {number} is not to be taught, which is not read")
        said.append(Said(role, _text(content, names, number)))
    return said


def _text(content: Any, names: list[str], number: int) -> str:
    """Returns a turn's text; images of typed parts go to `names`, with a mark in the text."""
    if isinstance(content, list):
        return "".join(_part(one, names, number) for one in content)
    if not isinstance(content, str):
        raise Refused("bad_record", f"turn {number} holds no text")
    return content


def _part(part: Any, names: list[str], number: int) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image_url", "image_url": {"url": str(name)} | str(name)}:
            names.append(_name(name))
            return IMAGE
        case {"type": "image"}:
            given = next((part[name] for name in ("image", "path", "url") if part.get(name)), None)
            names += [] if given is None else [_name(given)]
            return IMAGE
        case {"type": "video" | "audio" | "video_url" | "input_audio" | "audio_url"}:
            raise Refused("other_media", f"turn {number} shows {part['type']}")
    raise Refused(
        "bad_record", f"turn {number} holds a part that is neither text nor image: {repr(part)[:80]}"
    )


def _pairs(value: Mapping[str, Any]) -> Iterator[Said]:
    history = value.get("history") or []
    for number, pair in enumerate(history):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Refused("bad_record", f"entry {number} of history is no pair of question and answer")
        yield from _pair(*pair)
    asked, answered = ("query", "response") if "query" in value else ("instruction", "output")
    question, more = value[asked], value.get("input") if asked == "instruction" else None
    if isinstance(more, str) and more.strip() and isinstance(question, str):
        question = f"{question}\n{more}" if question.strip() else more
    yield from _pair(question, value[answered])


def _pair(asked: Any, answered: Any) -> Iterator[Said]:
    if not isinstance(asked, str) or not isinstance(answered, str):
        raise Refused(
            "bad_record", f"{repr(asked)[:80]} and {repr(answered)[:80]} are no question and answer"
        )
    yield Said("user", asked)
    yield Said("assistant", answered)


def _names(value: Mapping[str, Any]) -> list[str]:
    given = [value[name] for name in ("image", "images") if value.get(name) not in (None, "", [])]
    if len(given) == 2 and given[0] != given[1]:
        raise Refused("bad_record", "image and images name different images")
    if not given:
        return []
    return [_name(one) for one in (given[0] if isinstance(given[0], list) else given[:1])]


def _name(given: Any) -> str:
    if isinstance(given, dict):
        if given.get("bytes"):
            raise Refused(
                "inline_image", "the record holds the image inside itself: write it to a file and name that"
            )
        given = given.get("path")
    if isinstance(given, str) and given.startswith("data:"):
        raise Refused(
            "inline_image", "the record holds the image inside itself: write it to a file and name that"
        )
    return named(given.removeprefix("file://") if isinstance(given, str) else given)
