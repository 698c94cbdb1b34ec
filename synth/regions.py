"""Text with its place: what pages of every origin are told by."""

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
