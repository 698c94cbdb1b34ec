"""Setting text: which words stand on which line, within what bounds, and where these lie on the page.

Along the line bounds are those of the ink; across it they reach from ascender to descender (from top to bottom of a
Han character), so that all words of a line are equally high, as those of fonts, PDF and browsers are.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas.errors import InputError
from schemas.sample import Quad
from synth.page.fonts import Face, shaping
from synth.page.layout import Block, Box, Cell, Colour
from synth.regions import TextLine, TextRegion, TextWord
from synth.text import RIGHT_TO_LEFT, Reader

Bounds = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the document."""

DIRECTIONS: Final = ("ltr", "rtl", "vertical")
_STOPS: Final = "，。！？；：、…"
_PIECE: Final = re.compile(rf"[^\s{_STOPS}]+[{_STOPS}”’」』）》]*|[{_STOPS}]+")
_EM: Final = 1.25
_MOST: Final = 400


@dataclass(frozen=True, slots=True)
class Piece:
    """What is drawn at one go, with the pen at (x, y), and its bounds."""

    text: str
    x: int
    y: int
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Word:
    """A word, what stands between it and the word before, its bounds, its pieces and its characters."""

    text: str
    gap: str
    bounds: Bounds
    pieces: tuple[Piece, ...]
    characters: tuple[tuple[str, Bounds], ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of words in reading order, all of one face, size in pixels an em, and colour."""

    face: Face
    size: int
    colour: Colour
    words: tuple[Word, ...]
    direction: str = "ltr"

    @property
    def text(self) -> str:
        """The words with what stands between them."""
        return "".join((word.gap if at else "") + word.text for at, word in enumerate(self.words))

    @property
    def bounds(self) -> Bounds:
        """What holds the bounds of all words."""
        return union([word.bounds for word in self.words])


@dataclass(frozen=True, slots=True)
class Setter:
    """Fills cells with text; `characters` asks for the bounds of every character as well."""

    faces: Sequence[Face]
    direction: str = "ltr"
    characters: bool = False
    document: tuple[int, int] = (0, 0)

    def lines(self, blocks: Sequence[Block], reader: Reader) -> Iterator[Line]:
        """The lines of a page; a cell that not even a part of a word fits stays empty."""
        for block in blocks:
            face = self.faces[min(int(block.face * len(self.faces)), len(self.faces) - 1)]
            for box in block.boxes:
                size = int(box.cell.height / _EM)
                text = self._fit(reader, face, size, max(box.cell.width * box.fill, box.cell.height))
                if text:
                    line = self._set(text, face, size, box)
                    if line.words:
                        yield line

    def _fit(self, reader: Reader, face: Face, size: int, room: float) -> str:
        """The longest text that comes next and fits `room` pixels; what `face` lacks is passed over."""
        font = face.sized(size)
        ahead = reader.window(min(int(room / size * 4) + 2, _MOST))
        places = [at for at, token in enumerate(ahead) if face.covers(token)]
        while places and ahead[places[0]] == " ":
            places.pop(0)
        words = [ahead[at] for at in places]
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._length(font, "".join(words[:middle]).rstrip()) <= room
            low, high = (middle, high) if fits else (low, middle - 1)
        if low:
            reader.skip(places[low - 1] + 1)
            return re.sub(" +", " ", "".join(words[:low])).strip()
        reader.skip(places[0] + 1 if places else len(ahead))
        return self._cut(font, words[0], room) if words and self.direction != "rtl" else ""

    def _cut(self, font: ImageFont.FreeTypeFont, word: str, room: float) -> str:
        """The start of a word too long for its line, as SynthDoG cuts it; nothing below three characters."""
        while word and self._length(font, word) > room:
            word = word[:-1]
        return word if len(word) > 2 else ""

    def _length(self, font: ImageFont.FreeTypeFont, text: str) -> float:
        if self.direction == "vertical":
            return len(text) * font.size
        return font.getlength(text, **self._shaped)

    @property
    def _shaped(self) -> dict[str, Any]:
        return {"direction": "rtl"} if self.direction == "rtl" else {}

    def _set(self, text: str, face: Face, size: int, box: Box) -> Line:
        font = face.sized(size)
        place = self._column if self.direction == "vertical" else self._row
        words = [word for word in place(text, font, box.cell) if word.bounds[2] > word.bounds[0]]
        return Line(face, size, box.colour, tuple(words), self.direction)

    def _row(self, text: str, font: ImageFont.FreeTypeFont, cell: Cell) -> Iterator[Word]:
        length = self._length(font, text)
        lean = {"left": 0.0, "center": 0.5, "right": 1.0}[cell.align]
        start = cell.x + (cell.width - length) * lean
        ascent, descent = font.getmetrics()
        base = round(cell.y + (cell.height - ascent - descent) / 2 + ascent)
        above, below = _reach(font, text)
        end = 0
        for match in _PIECE.finditer(text):
            word, gap = match[0], text[end : match.start()]
            before = self._length(font, text[: match.start()])
            if self.direction == "rtl":
                before = length - before - self._length(font, word)
            x = round(start + before)
            x1, y1, x2, y2 = _ink(font, word, (x, base), "ls", self._shaped.get("direction"))
            bounds = x1, min(y1, base - above), x2, max(y2, base + below)
            letters = tuple(self._letters(word, font, x, base)) if self.characters else ()
            yield Word(word, gap, bounds, (Piece(word, x, base, bounds),), letters)
            end = match.end()

    def _letters(
        self, word: str, font: ImageFont.FreeTypeFont, x: int, base: int
    ) -> Iterator[tuple[str, Bounds]]:
        """The bounds of single characters; joined scripts have none, for there ink flows on."""
        if self.direction == "rtl":
            return
        for at, char in enumerate(word):
            pen = x + self._length(font, word[: at + 1]) - self._length(font, char)
            yield char, _ink(font, char, (round(pen), base), "ls")

    def _column(self, text: str, font: ImageFont.FreeTypeFont, cell: Cell) -> Iterator[Word]:
        """Characters one below the other; the cell is that of a row, turned by a quarter."""
        width, size = self.document[0], int(font.size)
        lean = {"left": 0.0, "center": 0.5, "right": 1.0}[cell.align]
        x = round(width - cell.y - cell.height / 2)
        y = round(cell.x + (cell.width - self._length(font, text)) * lean)
        end = 0
        for match in _PIECE.finditer(text):
            pieces = []
            for at, char in enumerate(match[0], match.start()):
                pen = y + at * size
                bounds = _ink(font, char, (x, pen), "mt", "ttb")
                # a font may lack the upright form of a stop and draw nothing: then nothing is told
                if bounds[2] > bounds[0]:
                    pieces.append(_within(Piece(char, x, pen, bounds), pen, size))
            if not pieces:
                continue
            letters = tuple((piece.text, piece.bounds) for piece in pieces) if self.characters else ()
            bounds = union([piece.bounds for piece in pieces])
            word = "".join(piece.text for piece in pieces)
            yield Word(word, text[end : match.start()], bounds, tuple(pieces), letters)
            end = match.end()


def _within(piece: Piece, top: int, size: int) -> Piece:
    """The piece moved up or down into its square: some fonts have no sound measures for columns."""
    x1, y1, x2, y2 = piece.bounds
    lowest = max(top + size - (y2 - y1), top)
    down = round(min(max(y1, top), lowest) - y1)
    return Piece(piece.text, piece.x, piece.y + down, (x1, y1 + down, x2, y2 + down))


def direction(asked: str, language: str) -> str:
    """The direction of lines; `auto` is rtl for the languages that are written so, else ltr.

    Raises InputError for a direction that is unknown, or that this Pillow cannot set.
    """
    found = ("rtl" if language in RIGHT_TO_LEFT else "ltr") if asked == "auto" else asked
    _check(found)
    return found


def _check(direction: str) -> None:
    if direction not in DIRECTIONS:
        raise InputError(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r}")
    if direction != "ltr" and shaping() != "raqm":
        raise InputError(f"setting {direction} text needs Pillow with libraqm: apt-get install libraqm0")


def ink(image: Image.Image, lines: Sequence[Line]) -> None:
    """Draws `lines` onto the document's image."""
    pen = ImageDraw.Draw(image)
    for line in lines:
        font = line.face.sized(line.size)
        anchor = "mt" if line.direction == "vertical" else "ls"
        way = {"rtl": "rtl", "vertical": "ttb"}.get(line.direction)
        for word in line.words:
            for piece in word.pieces:
                pen.text((piece.x, piece.y), piece.text, line.colour, font, anchor=anchor, direction=way)


def union(bounds: Sequence[Bounds]) -> Bounds:
    """The smallest bounds that hold all of `bounds`."""
    left, top, right, bottom = zip(*bounds, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _reach(font: ImageFont.FreeTypeFont, text: str) -> tuple[int, int]:
    """How far a line of such text reaches above and below its baseline, whatever letters are in it."""
    wide = any("\u2e80" <= char <= "\U0003ffff" for char in text)
    _, top, _, bottom = _ink(font, "国" if wide else "bdhgpy", (0, 0), "ls")
    return round(-top), round(bottom)


def _ink(
    font: ImageFont.FreeTypeFont,
    text: str,
    pen: tuple[int, int],
    anchor: str,
    direction: str | None = None,
) -> Bounds:
    """The bounds of the ink itself: Pillow's own box takes in the pen's advance as well."""
    mask, (left, top) = font.getmask2(text, "L", anchor=anchor, direction=direction)
    box = mask.getbbox() or (0, 0, 0, 0)
    x, y = pen[0] + left, pen[1] + top
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


PAD: Final = 1.0
"""Pixels around ink that belong to it: what interpolation and blur smear."""
_PAD_EM: Final = 0.06
_SLACK: Final = 1.0

Carry = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Takes (N, 2) points from the document to the page."""


def truth_of(line: Line, carry: Carry, page: tuple[int, int]) -> tuple[Line, TextLine | None]:
    """(the line without the words that lie off the page, what is told of the rest; None where nothing is left)."""
    pad = PAD + _PAD_EM * line.size
    quads = _quads([word.bounds for word in line.words], pad, carry, page)
    kept = [(word, quad) for word, quad in zip(line.words, quads, strict=True) if quad is not None]
    line = replace(line, words=tuple(word for word, _ in kept))
    quad = _quads([line.bounds], pad, carry, page)[0] if kept else None
    if quad is None:
        return replace(line, words=()), None
    words = tuple(
        TextWord(word.text, place, _characters(word.characters, carry, page)) for word, place in kept
    )
    return line, TextLine(line.text, quad, words)


def _characters(
    characters: tuple[tuple[str, Bounds], ...], carry: Carry, page: tuple[int, int]
) -> tuple[TextRegion, ...]:
    quads = _quads([bounds for _, bounds in characters], PAD, carry, page)
    return tuple(
        TextRegion(text, quad) for (text, _), quad in zip(characters, quads, strict=True) if quad is not None
    )


def _quads(bounds: Sequence[Bounds], pad: float, carry: Carry, page: tuple[int, int]) -> list[Quad | None]:
    """The corners of each of `bounds` and `pad` pixels more, on the page; None where more than the pad lies
    off it. All corners are carried at once."""
    if not bounds:
        return []
    x1, y1, x2, y2 = (np.array(bounds, np.float64) + np.array([-pad, -pad, pad, pad])).T
    corners = carry(np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 2))
    held = np.clip(corners, 0, page)
    off = np.abs(held - corners).reshape(-1, 8).max(axis=1) > pad + _SLACK
    return [
        None if lost else _quad(four) for lost, four in zip(off, held.reshape(-1, 4, 2).tolist(), strict=True)
    ]


def _quad(corners: Sequence[Sequence[float]]) -> Quad:
    a, b, c, d = ((round(x, 2), round(y, 2)) for x, y in corners)
    return a, b, c, d
