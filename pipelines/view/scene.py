"""What is to be drawn of a sample: which regions on which showing of a picture, in which colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.sample import ImageRef, Phrase, Sample, Turn

COLOURS: Final = (
    *("#d1242f", "#0969da", "#1a7f37", "#8250df", "#bc4c00", "#0e7490", "#bf3989", "#7a5c00", "#4d5d00"),
    *("#5a32a3", "#006d5b", "#953800"),
)
"""Dark enough to be read on white, far enough apart to be told from each other."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample and its pictures' bytes, as they are stored."""

    sample: Sample
    images: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Region:
    """One box or quad as corners in pixels, with its phrase's words, number and colour.

    `beside`: its number stands to the left of it, so that the words inside can be read.
    """

    corners: tuple[tuple[float, float], ...]
    words: str
    number: int
    colour: str
    beside: bool = False

    def label(self, wide: float, high: float, width: float, height: float) -> tuple[float, float]:
        """Where a label of that size goes, within a picture of that size: its left and top."""
        left, top = min(x for x, _ in self.corners), min(y for _, y in self.corners)
        if self.beside and left >= wide:
            left -= wide
        return max(min(left, width - wide), 0), max(min(top, height - high), 0)


@dataclass(frozen=True, slots=True)
class Scene:
    """`regions`: for each showing of a picture, in order, what is drawn on it. `numbers`: phrases' own, by words.

    Equal words have one number and colour all over the sample.
    """

    regions: tuple[tuple[Region, ...], ...]
    numbers: dict[str, int]

    def number(self, phrase: Phrase) -> int | None:
        """The phrase's number from 1; None where it has no region anywhere in the sample."""
        return self.numbers.get(phrase.phrase)


def colour(number: int) -> str:
    """The colour of the phrase of that number."""
    return COLOURS[(number - 1) % len(COLOURS)]


def scene(turns: Sequence[Turn]) -> Scene:
    """What is to be drawn of turns: regions belong to the picture that was shown last before them."""
    showings: list[list[Region]] = []
    numbers: dict[str, int] = {}
    for segment in (one for turn in turns for one in turn.segments):
        if isinstance(segment, ImageRef):
            showings.append([])
        elif isinstance(segment, Phrase) and (segment.boxes or segment.quads):
            number = numbers.setdefault(segment.phrase, len(numbers) + 1)
            for corners, beside in _outlines(segment):
                if showings:
                    region = Region(corners, segment.phrase, number, colour(number), beside)
                    showings[-1].append(region)
    return Scene(tuple(tuple(one) for one in showings), numbers)


def _outlines(phrase: Phrase) -> list[tuple[tuple[tuple[float, float], ...], bool]]:
    """Corners, and whether they are those of a line of text."""
    boxes = [((x1, y1), (x2, y1), (x2, y2), (x1, y2)) for x1, y1, x2, y2 in phrase.boxes]
    return [*[(one, False) for one in boxes], *[(quad, True) for quad in phrase.quads]]


def taught(task: str, phrase: Phrase) -> tuple[bool, bool]:
    """Whether the phrase's words, and whether its regions, are taught in a sample of that task."""
    words = phrase.supervised and task != "referring"
    return words, phrase.supervised and task != "grounded_caption"
