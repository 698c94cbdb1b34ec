"""Text with its place: what pages of every origin are told by."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.sample import Quad


@dataclass(frozen=True, slots=True)
class TextRegion:
    """A text and its quad in pixels of the page, clockwise from the top left."""

    text: str
    quad: Quad


@dataclass(frozen=True, slots=True)
class TextWord(TextRegion):
    """A word, with its characters where they were asked for."""

    characters: tuple[TextRegion, ...] = ()


@dataclass(frozen=True, slots=True)
class TextLine(TextRegion):
    """A line and its words in reading order."""

    words: tuple[TextWord, ...] = ()


def joined(words: Sequence[str]) -> str:
    """The words with single spaces between them, save between two characters of Han, kana and the like."""
    text = ""
    for word in words:
        text += (" " if text and not (is_wide(text[-1]) and is_wide(word[:1])) else "") + word
    return text


def is_wide(char: str) -> bool:
    """Whether the character is Han, kana or the like, which are set without spaces between words."""
    return "\u2e80" <= char <= "\ua4cf" or "\uf900" <= char <= "\ufaff" or "\uff00" <= char <= "\uff60"
