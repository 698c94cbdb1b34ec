"""PaliGemma's prefix and suffix: task words, and boxes as <loc> tokens (y1 x1 y2 x2, 1024 bins).

    caption            caption LANG              words
    vqa                answer LANG QUESTION      words
    grounding          detect P ; P              <locY1><locX1><locY2><locX2> P ; ...
    referring          detect P                  the same
    ocr                ocr                       lines of words

Lacks: words between phrases (a grounded caption is its phrases), quads, box to phrase, dialogues.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.dialects.dialogue import CannotSay
from schemas.markup.reader import MarkupError
from schemas.markup.tags import Size, quantise
from schemas.sample import Box, Example, ImageRef, Phrase, Segment, Text

BINS: Final = 1024
_LOC: Final = re.compile(r"<loc[0-9]{4}>")
_ENTRY: Final = re.compile(r"<loc([0-9]{4})><loc([0-9]{4})><loc([0-9]{4})><loc([0-9]{4})> (.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pair:
    """What the model is given, and what it is to write."""

    prefix: str
    suffix: str


def to_paligemma(example: Example) -> Pair:
    """Returns the pair of a document example; raises MarkupError where PaliGemma has no words for it."""
    segments = [one for one in example.segments if not isinstance(one, ImageRef)]
    words = "".join(one.text for one in segments if isinstance(one, Text) and one.supervised)
    match example.task:
        case "caption":
            return Pair(f"caption {example.language}", words)
        case "vqa":
            asked = "".join(one.text for one in segments if isinstance(one, Text) and not one.supervised)
            return Pair(f"answer {example.language} {asked}", words)
        case "ocr":
            return Pair("ocr", "\n".join(_line(one) for one in _phrases(segments)))
        case "grounding" | "referring":
            return _detect(together(segments), (example.images[0].width, example.images[0].height))
    raise CannotSay("task", f"PaliGemma has no words for task {example.task}")


def from_paligemma(pair: Pair, size: Size) -> tuple[str, tuple[Segment, ...]]:
    """Returns the task (`grounding` for any detection) and the segments, all supervised but the question."""
    task, _, rest = pair.prefix.partition(" ")
    answer = Text(pair.suffix, supervised=True)
    if task == "caption":
        return "caption", (answer,)
    if task == "answer":
        return "vqa", (Text(rest.partition(" ")[2]), answer)
    if task == "ocr":
        return "ocr", tuple(Phrase(line, supervised=True) for line in pair.suffix.split("\n"))
    if task != "detect":
        raise MarkupError(f"{task[:40]!r} is no task of PaliGemma")
    return "grounding", together([_entry(one, size) for one in pair.suffix.split(" ; ")])


def together(segments: Sequence[Segment]) -> tuple[Phrase, ...]:
    """Returns the phrases with boxes, those of the same words as one, in order of first appearance."""
    boxes: dict[str, tuple[Box, ...]] = {}
    for phrase in _phrases(segments):
        if phrase.boxes:
            boxes[phrase.phrase] = (*boxes.get(phrase.phrase, ()), *phrase.boxes)
    return tuple(Phrase(words, found, (), supervised=True) for words, found in boxes.items())


def _phrases(segments: Sequence[Segment]) -> list[Phrase]:
    return [one for one in segments if isinstance(one, Phrase)]


def _line(phrase: Phrase) -> str:
    if "\n" in phrase.phrase:
        raise CannotSay("text", "a line of text holds a line feed")
    return phrase.phrase


def _detect(phrases: Sequence[Phrase], size: Size) -> Pair:
    for phrase in phrases:
        words = phrase.phrase
        if not words or ";" in words or _LOC.search(words):
            raise CannotSay("text", f"PaliGemma cannot be asked for {words!r}")
    entries = [f"{_loc(box, size)} {one.phrase}" for one in phrases for box in one.boxes]
    return Pair("detect " + " ; ".join(one.phrase for one in phrases), " ; ".join(entries))


def _entry(text: str, size: Size) -> Phrase:
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise MarkupError(f"{text[:80]!r} is no detection")
    return Phrase(match[5], (_pixels([int(one) for one in match.groups()[:4]], size),), (), supervised=True)


def _loc(box: Box, size: Size) -> str:
    x1, y1, x2, y2 = (quantise(v, side, BINS) for v, side in zip(box, size * 2, strict=True))
    return "".join(f"<loc{one:04d}>" for one in (y1, x1, y2, x2))


def _pixels(bins: Sequence[int], size: Size) -> Box:
    if max(bins) >= BINS:
        raise MarkupError(f"a location is not on the grid of {BINS}")
    y1, x1, y2, x2 = bins
    width, height = size
    left, right = _edges(x1, x2, width)
    top, bottom = _edges(y1, y2, height)
    return left, top, right, bottom


def _edges(low: int, high: int, side: int) -> tuple[float, float]:
    near, far = (0.25, 0.75) if low == high else (0.5, 0.5)
    return round((low + near) / BINS * side, 2), round((high + far) / BINS * side, 2)
