"""LLaVA and ShareGPT conversations: turns of human and gpt, images marked <image>.

{"id", "image": name or [names], "conversations": [{"from": human | gpt | system, "value"}]}
{"id", "images": [names], "messages": [{"role": user | assistant | system, "content"}]}
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pipelines.datasets.dataset import Dataset, Files, Glimpse, Made, Record
from pipelines.datasets.drafts import Draft, NamedImage, check_unicode, label, named
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import entries, lines
from schemas.sample import ImageRef, Segment, Text, Turn

_ROLES: Final = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}
_IMAGE: Final = re.compile(r"\n?<image>\n?")


def _make(value: Mapping[str, Any]) -> Made:
    said = _said(value)
    lost: list[Refusal] = []
    if said and said[0][0] == "assistant":
        said = said[1:]
        lost.append(Refusal("leading_answer", "the published scripts leave it out too"))
    names = _names(value)
    turns, shown = _turns(said)
    if shown == 0 and len(names) == 1:
        # some published records do not say where their one image stands: it comes first
        turns, shown = _image_first(turns), 1
    if shown != len(names):
        raise Refused("image_count", f"{len(names)} images are listed, {shown} shown")
    images, renumbered = _each_once(names, turns)
    return [Draft("chat", label(value.get("language")), images, renumbered)], lost


def _said(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    turns = value["conversations"] if "conversations" in value else value["messages"]
    said = []
    for number, turn in enumerate(turns):
        speaker, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        role = _ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            raise Refused("out_of_turn", f"turn {number} is of {speaker!r}")
        if not isinstance(text, str):
            raise Refused("bad_record", f"turn {number} holds no text")
        check_unicode(text)
        if not text.strip():
            raise Refused("empty_answer" if role == "assistant" else "empty_question", f"turn {number}")
        said.append((role, text))
    return said


def _turns(said: list[tuple[str, str]]) -> tuple[list[Turn], int]:
    """Returns turns that alternate, with a question first and an answer last; and how many images they show."""
    turns: list[Turn] = []
    shown = 0
    expected = "user"
    for number, (role, text) in enumerate(said):
        if role == "system" and number == 0:
            turns.append(Turn("system", (Text(text),)))
            continue
        if role != expected:
            raise Refused("out_of_turn", f"turn {number} is of {role}, where {expected} should speak")
        expected = "assistant" if role == "user" else "user"
        segments, shown = _segments(text, role == "assistant", shown)
        turns.append(Turn(role, segments))
    if not any(turn.role == "user" for turn in turns):
        raise Refused("no_turns")
    if expected == "assistant":
        raise Refused("unanswered", "the last question has no answer")
    return turns, shown


def _segments(text: str, taught: bool, shown: int) -> tuple[tuple[Segment, ...], int]:
    if "<image>" not in text:
        return (Text(text, taught),), shown
    segments: list[Segment] = []
    parts = _IMAGE.split(text)
    for number, part in enumerate(parts):
        if part:
            segments.append(Text(part, taught))
        if number < len(parts) - 1:
            segments.append(ImageRef(shown))
            shown += 1
    return tuple(segments), shown


def _image_first(turns: list[Turn]) -> list[Turn]:
    first = next(at for at, turn in enumerate(turns) if turn.role == "user")
    with_image = Turn("user", (ImageRef(0), *turns[first].segments))
    return [*turns[:first], with_image, *turns[first + 1 :]]


def _each_once(names: list[str], turns: list[Turn]) -> tuple[tuple[NamedImage, ...], tuple[Turn, ...]]:
    """Returns images without repeats, and turns that show them by their new numbers."""
    once = list(dict.fromkeys(names))
    if len(once) < len(names):
        numbers = [ImageRef(once.index(name)) for name in names]
        for at, turn in enumerate(turns):
            segments = (numbers[one.image] if isinstance(one, ImageRef) else one for one in turn.segments)
            turns[at] = Turn(turn.role, tuple(segments))
    return tuple(NamedImage(name) for name in once), tuple(turns)


def _names(value: Mapping[str, Any]) -> list[str]:
    listed = value.get("image", value.get("images"))
    if listed is None:
        return []
    return [named(one) for one in (listed if isinstance(listed, list) else [listed])]


def _conversations(
    published: str,
    records: Callable[[Files], Iterator[Record]],
    recognised: Callable[[Glimpse], bool],
    named: bool = False,
) -> Dataset:
    return Dataset(published, "a conversation", ("chat",), _make, records, recognised=recognised, named=named)


CONVERSATIONS: Final = _conversations(
    "LLaVA or ShareGPT JSON",
    entries("the conversations", ids=("id", "conversation_id")),
    lambda seen: (
        seen.start.startswith(b"[") and (b'"conversations"' in seen.start or b'"messages"' in seen.start)
    ),
    named=True,
)
LINES: Final = _conversations(
    "LLaVA or ShareGPT JSON, one a line",
    lines,
    lambda seen: bool(seen.fields & {"conversations", "messages"}),
)
