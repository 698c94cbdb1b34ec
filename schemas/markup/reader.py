"""The reader of tags: segments out of tokens; each problem goes to a function that may raise."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.markup.tags import GRID, Loss, Size, Token, cells_box, cells_quad, unescape, unguard
from schemas.sample import Box, ImageRef, Phrase, Quad, Segment, Text

PROBLEMS: Final = {
    "unclosed": "a tag is opened and never closed",
    "stray": "a tag stands where it cannot",
    "coordinates": "a box or quad does not hold its numbers",
    "range": "a coordinate is not between 0 and 999",
    "order": "a box's second corner is not below and to the right of its first",
    "flat": "a box has no extent",
    "image": "an image that is not there",
    "role": "a turn of an unknown role",
    "after_end": "text after the end",
}
"""The kinds of problem, with what each means."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: its kind (a key of PROBLEMS), the characters from `start` to `end`, and a sentence."""

    kind: str
    start: int
    end: int
    message: str


class MarkupError(ValueError):
    """A sample that cannot be written, or a text that cannot be read; `problem` is set for the latter."""

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(slots=True)
class Reader:
    """Reads the content of turns one after the other; `shown` is the image that regions belong to.

    `spaced`: a space before <ref> belongs to the markup (OCR). `pictures`: how many `Picture N: ` were read,
    None where images are not numbered. `report` is called with every problem; where it returns, reading
    goes on with what can be kept.
    """

    text: str
    sizes: Sequence[Size]
    names: Sequence[str] | None
    loss: Loss
    report: Callable[[Problem], None]
    spaced: bool = False
    pictures: int | None = None
    shown: int = -1
    _tokens: list[Token] = field(default_factory=list)
    _at: int = 0
    _read: list[Segment] = field(default_factory=list)

    def segments(self, tokens: list[Token]) -> list[Segment]:
        """Returns the segments that `tokens` spell."""
        self._tokens, self._at, self._read = tokens, 0, []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.tag == "":
                self._at += 1
                self._texts(token)
            elif token.tag == "<img>":
                self._image()
            elif token.tag in ("<ref>", "<box>", "<quad>"):
                self._phrase(token)
            else:
                self._at += 1
                self._problem("stray", token, f"{token.tag} stands where it cannot")
        return self._read

    def _texts(self, token: Token) -> None:
        for text in self.loss.texts(self.text, token.start, token.end):
            self._text(text)

    def _text(self, text: Text) -> None:
        last = self._read[-1] if self._read else None
        if isinstance(last, Text) and last.supervised == text.supervised:
            self._read[-1] = Text(last.text + text.text, last.supervised)
        elif text.text:
            self._read.append(text)

    def _image(self) -> None:
        opened = self._tokens[self._at]
        name = self._between("</img>")
        if name is None:
            return
        index = self._index(unescape(name))
        if index is None:
            self._problem("image", opened, f"there is no image {name[:80]!r}")
            return
        self.shown = index
        if self.pictures is not None:
            self.pictures += 1
            self._drop_end(f"Picture {self.pictures}: ")
        self._read.append(ImageRef(index))
        if self.pictures is not None:
            self._skip_line_feed()

    def _index(self, name: str) -> int | None:
        if self.names is not None:
            return self.names.index(name) if name in self.names else None
        plain = name.isascii() and name.isdecimal() and len(name) < 6 and str(int(name)) == name
        return int(name) if plain and int(name) < len(self.sizes) else None

    def _skip_line_feed(self) -> None:
        if self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.tag == "" and self.text.startswith("\n", token.start):
                rest = Token(token.start + 1, token.end)
                self._tokens[self._at : self._at + 1] = [rest] if rest.start < rest.end else []

    def _phrase(self, first: Token) -> None:
        words = ""
        if first.tag == "<ref>":
            inside = self._between("</ref>")
            if inside is None and (inside := self._rest()) is not None:
                self._at += 1
            words = unescape(inside or "")
        boxes, quads = self._regions()
        end = self._tokens[self._at - 1].end
        supervised = self.loss.any(first.start, end)
        if self.spaced:
            self._drop_end(" ")
        elif words.startswith(" "):
            self._text(Text(" ", supervised))
            words = words[1:]
        if boxes or quads or first.tag == "<ref>":
            self._read.append(Phrase(unguard(words), tuple(boxes), tuple(quads), supervised))

    def _regions(self) -> tuple[list[Box], list[Quad]]:
        boxes: list[Box] = []
        quads: list[Quad] = []
        while self._at < len(self._tokens) and self._tokens[self._at].tag in ("<box>", "<quad>"):
            opened = self._tokens[self._at]
            kind = opened.tag[1:-1]
            inside = self._between(f"</{kind}>")
            if inside is None and (rest := self._rest()) and _found_cells(kind, rest):
                inside = rest
                self._at += 1
            cells = None if inside is None else self._cells(kind, inside, opened)
            if cells is None:
                continue
            if not 0 <= self.shown < len(self.sizes):
                self._problem("image", opened, "regions stand before any image")
            elif kind == "box":
                boxes.append(_as_box(cells, self.sizes[self.shown]))
            else:
                quads.append(cells_quad(cells, self.sizes[self.shown]))
        return boxes, quads

    def _cells(self, kind: str, inside: str, opened: Token) -> list[int] | None:
        cells = _exact_cells(kind, inside)
        if cells is None:
            self._problem("coordinates", opened, f"{inside[:80]!r} are not the coordinates of a {kind}")
            cells = _found_cells(kind, inside)
        if cells is not None and _outside(cells):
            self._problem("range", opened, f"a coordinate of {inside[:80]!r} is not between 0 and 999")
            cells = _clamped(cells)
        if cells is not None and _reversed_box(kind, cells):
            self._problem("order", opened, f"the box {inside[:80]!r} is not top left, bottom right")
        return cells

    def _between(self, closing: str) -> str | None:
        """Returns the text up to `closing`, past which reading goes on; None, with a problem, where it is missing."""
        opened = self._tokens[self._at]
        self._at += 1
        following = self._tokens[self._at : self._at + 2]
        if following and following[0].tag == closing:
            self._at += 1
            return ""
        if len(following) == 2 and following[0].tag == "" and following[1].tag == closing:
            self._at += 2
            return self.text[following[0].start : following[0].end]
        self._problem("unclosed", opened, f"{opened.tag} is not closed by {closing}")
        return None

    def _rest(self) -> str | None:
        """Returns the text that follows a tag that is not closed; reading stays where it is."""
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        return self.text[token.start : token.end] if token and token.tag == "" else None

    def _drop_end(self, suffix: str) -> None:
        last = self._read[-1] if self._read else None
        if isinstance(last, Text) and last.text.endswith(suffix):
            rest = last.text[: len(last.text) - len(suffix)]
            self._read[-1:] = [Text(rest, last.supervised)] if rest else []

    def _problem(self, kind: str, token: Token, message: str) -> None:
        self.report(Problem(kind, token.start, token.end, message))


_POINT: Final = r"\(([0-9]{1,9}),([0-9]{1,9})\)"
_STRICT: Final = {"box": re.compile(",".join([_POINT] * 2)), "quad": re.compile(",".join([_POINT] * 4))}
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_LONGEST: Final = 400
"""Characters beyond which no attempt is made to find numbers in junk."""


def _exact_cells(kind: str, text: str) -> list[int] | None:
    """Returns the cells in the text of a box or quad, exactly as the format has them; None if it is not."""
    match = _STRICT[kind].fullmatch(text)
    return None if match is None else [int(one) for one in match.groups()]


def _found_cells(kind: str, text: str) -> list[int] | None:
    """Returns the cells in a text that holds just the right count of numbers, whatever stands between them."""
    numbers = _NUMBER.findall(text[:_LONGEST])
    if len(numbers) != (4 if kind == "box" else 8) or len(text) > _LONGEST:
        return None
    # fractions are cut off; a number of many digits is out of range whatever it is
    return [int(one.split(".")[0][:10]) for one in numbers]


def _outside(cells: list[int]) -> bool:
    """Returns whether a cell is not on the grid."""
    return not all(0 <= cell < GRID for cell in cells)


def _clamped(cells: list[int]) -> list[int]:
    """Returns cells moved onto the grid."""
    return [min(max(cell, 0), GRID - 1) for cell in cells]


def _as_box(cells: list[int], size: Size) -> Box:
    """Returns pixels of a box whose corners may be any two opposite ones."""
    x1, y1, x2, y2 = cells
    return cells_box((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), size)


def _reversed_box(kind: str, cells: list[int]) -> bool:
    """Returns whether a box's second corner is above or to the left of its first."""
    return kind == "box" and (cells[0] > cells[2] or cells[1] > cells[3])
