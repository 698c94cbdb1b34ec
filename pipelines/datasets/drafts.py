"""Drafts of the tasks: a grounded picture's three views, captions, questions."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pipelines.datasets.built import Draft, Picture
from pipelines.datasets.reasons import MALFORMED, Refusal, Refused
from schemas.sample import Box, ImageRef, Phrase, Segment, Text, Turn

SHOWN: Final = ImageRef(0)
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
Reader = Callable[[Sequence[Any], int, int], Box]
"""Makes a box of a data set's own form one within the picture."""


def boxes_of(values: Iterable[Any], picture: Picture, read: Reader, lost: list[Refusal]) -> tuple[Box, ...]:
    """The usable boxes, each once; others go to `lost`, but a malformed one is raised."""
    found: dict[Box, None] = {}
    for value in values:
        try:
            found[read(value, picture.width, picture.height)] = None
        except Refused as error:
            if error.refusal.reason in MALFORMED:
                raise
            lost.append(error.refusal)
    return tuple(found)


def region_drafts(
    picture: Picture, phrase: Phrase, language: str = "en", relative: bool = False, split: str = ""
) -> list[Draft]:
    """Phrase to box, and box to phrase: the same words and boxes; the task says which half is taught."""
    images, turns = (picture,), (Turn("document", (SHOWN, phrase)),)
    return [
        Draft("referring", language, images, turns, relative, split),
        Draft("grounded_caption", language, images, turns, relative, split),
    ]


def grounding_draft(
    picture: Picture,
    caption: str,
    places: Sequence[tuple[int, int, Phrase]],
    language: str = "en",
    relative: bool = False,
) -> Draft:
    """The caption with boxes; `places` are (start, end, phrase), in order and apart from each other."""
    segments: list[Segment] = [SHOWN]
    at = 0
    for start, end, phrase in places:
        if start > at:
            segments.append(Text(caption[at:start], True))
        segments.append(phrase)
        at = end
    if at < len(caption):
        segments.append(Text(caption[at:], True))
    return Draft("grounding", language, (picture,), (Turn("document", tuple(segments)),), relative)


def caption_draft(picture: Picture, caption: object, language: str = "en") -> Draft:
    """A picture with its caption."""
    segments = (SHOWN, Text(words(caption, "empty_caption"), True))
    return Draft("caption", language, (picture,), (Turn("document", segments),))


def vqa_draft(
    picture: Picture, question: object, answer: object, split: str = "", language: str = "en"
) -> Draft:
    """A question about a picture, and its answer."""
    asked = Text(words(question, "empty_question"))
    said = Text(words(answer, "empty_answer"), True)
    return Draft("vqa", language, (picture,), (Turn("document", (SHOWN, asked, said)),), False, split)


def words(value: object, reason: str) -> str:
    """`value` without white space around it; Refused with `reason` where nothing is left."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Refused(reason if value is None else "bad_record", f"{repr(value)[:80]} is no text")
    if not (kept := value.strip()):
        raise Refused(reason)
    check_unicode(kept)
    return kept


def check_unicode(text: str) -> None:
    """Refused where UTF-8 cannot write `text`: a shard could not hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused("bad_record", "a text holds half of a surrogate pair") from error


def label(value: object, default: str = "") -> str:
    """A record's own word for its language or split where it is one, else `default`."""
    return value if isinstance(value, str) and _LABEL.fullmatch(value) else default


def named(value: object) -> str:
    """The name of a picture; Refused `no_image` where there is none."""
    if not isinstance(value, str) or not value.strip():
        raise Refused("no_image", f"{repr(value)[:80]} names no picture")
    check_unicode(value)
    return value
