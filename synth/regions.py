"""Text with its place, as pages of every origin have it, and the samples that a page of text gives."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.sample import ImageRef, Phrase, Quad, Text, Turn
from synth.views import View


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


LEVELS: Final = ("line", "word", "character")
QUESTIONS: Final = {"en": "What is written in this picture?", "zh": "这张图片上写了什么？"}


def text_views(
    lines: Sequence[TextLine], language: str, level: str = "line", *, whole: bool = False
) -> list[View]:
    """The views of a page: `ocr`, all of `level` in reading order, each with its quad and supervised.

    With `whole` also `vqa`: a question without loss, and all the text as its answer, as SynthDoG's own
    labels have it. A word of which no characters are told stands for them.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
    phrases = (Phrase(one.text, quads=(one.quad,), supervised=True) for one in _regions(lines, level))
    found = [View("ocr", language, (Turn("document", (ImageRef(0), *phrases)),))]
    if whole:
        text = "\n".join(line.text for line in lines)
        asked = Text(QUESTIONS[_spoken(language, text)])
        found.append(View("vqa", language, (Turn("document", (ImageRef(0), asked, Text(text, True))),)))
    return found


def _regions(lines: Iterable[TextLine], level: str) -> Iterator[TextRegion]:
    for line in lines:
        if level == "line":
            yield line
            continue
        for word in line.words:
            if level == "character" and word.characters:
                yield from word.characters
            else:
                yield word


def _spoken(language: str, text: str) -> str:
    """The language to ask in: the page's where there is a question in it, else by what most of it is."""
    if language in QUESTIONS:
        return language
    letters = [char for char in text if char.isalnum()]
    return "zh" if sum(is_wide(char) for char in letters) > len(letters) / 2 else "en"
