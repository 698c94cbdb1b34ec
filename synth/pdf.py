"""PDF pages with their text and its places, by pdfium: characters are gathered into words and lines, in pixels.

A document is untrusted: this runs in a process that may be killed, and what takes time or memory without end is that
process's matter. Everything else ends in RowError or PageFailure.
"""

import ctypes
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, Final

import cv2
import numpy as np
import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]
from numpy.typing import NDArray

from schemas.errors import RowError
from schemas.sample import Quad
from synth.documents import DocumentPage, PageFailure, as_drawn, is_flat
from synth.readers import quad_of
from synth.regions import TextLine, TextWord, joined

_FINE: Final = 64
_FAR: Final = 4096
_SLACK: Final = 2.0
_INVISIBLE: Final = frozenset({3, 7})
_UNKNOWN: Final = 0xFFFD
"""What stands for a glyph of which the font does not say the character: pdfium then gives its number."""
_WRITTEN: Final = frozenset({0x02, *range(0x09, 0x0E)})
"""Control characters of sound text: the hyphen that pdfium sees at a line's end, and white space."""
_MANY_SHAPES: Final = 8
_SHAPES_A_CHARACTER: Final = 5
"""Shapes of glyphs a character of a page; sound pages have up to 4 (Arabic letters change their shapes)."""
_QUARTER: Final = math.pi / 2

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class Char:
    """A character: its box on the rendered page, its height with ascender and descender, its turn in
    quarters clockwise (2.5 and the like where askew). `in_ligature`: one glyph shows it and the one before."""

    text: str
    box: Box
    loose: Box
    turn: float
    in_ligature: bool = False


@dataclass(slots=True)
class _Word:
    chars: list[Char] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(char.text for char in self.chars)

    @property
    def box(self) -> Box:
        left, top, right, bottom = zip(*(char.box for char in self.chars), strict=True)
        return min(left), min(top), max(right), max(bottom)


class Placing:
    """Page units to pixels, as pdfium renders the page: crop box, rotation and scale included."""

    def __init__(self, page: Any, width: int, height: int) -> None:
        x, y = ctypes.c_int(), ctypes.c_int()
        points = []
        for px, py in ((0.0, 0.0), (_FAR, 0.0), (0.0, _FAR)):
            pdfium.FPDF_PageToDevice(page, 0, 0, width * _FINE, height * _FINE, 0, px, py, x, y)
            points.append((x.value / _FINE, y.value / _FINE))
        (self._x, self._y), (ax, ay), (bx, by) = points
        self._a, self._b = (ax - self._x) / _FAR, (ay - self._y) / _FAR
        self._c, self._d = (bx - self._x) / _FAR, (by - self._y) / _FAR

    @property
    def turn(self) -> float:
        """The quarters by which the page itself is turned clockwise."""
        return math.atan2(self._b, self._a) / _QUARTER

    def box(self, left: float, bottom: float, right: float, top: float) -> Box:
        """A box of page units in pixels."""
        x = [self._x + self._a * u + self._c * v for u in (left, right) for v in (bottom, top)]
        y = [self._y + self._b * u + self._d * v for u in (left, right) for v in (bottom, top)]
        return min(x), min(y), max(x), max(y)


def characters(textpage: Any, placing: Placing, limit: int) -> tuple[list[Char], int]:
    """(at most `limit` characters in the order of the text layer, how many of all were invisible).

    White space and line ends stand as characters without a box of their own (all zeros).
    """
    raw = textpage.raw
    box = [ctypes.c_double() for _ in range(4)]
    loose = pdfium.FS_RECTF()
    found: list[Char] = []
    hidden, last = 0, None
    for at in range(min(textpage.count_chars(), limit)):
        code = pdfium.FPDFText_GetUnicode(raw, at)
        if _is_control(code) and (code not in _WRITTEN or pdfium.FPDFText_HasUnicodeMapError(raw, at) == 1):
            code = _UNKNOWN
        if code in (0x20, 0xA0, 0x0D, 0x0A, 0x09) or chr(code).isspace():
            found.append(Char("\n" if code in (0x0D, 0x0A) else " ", (0, 0, 0, 0), (0, 0, 0, 0), 0))
            continue
        item = pdfium.FPDFText_GetTextObject(raw, at)
        if item and pdfium.FPDFTextObj_GetTextRenderMode(item) in _INVISIBLE:
            hidden += 1
            continue
        pdfium.FPDFText_GetCharBox(raw, at, box[0], box[1], box[2], box[3])
        pdfium.FPDFText_GetLooseCharBox(raw, at, loose)
        left, right, bottom, top = (value.value for value in box)
        glyph = ctypes.cast(item, ctypes.c_void_p).value, left, right, bottom, top
        turn = placing.turn - pdfium.FPDFText_GetCharAngle(raw, at) / _QUARTER
        found.append(
            Char(
                chr(code if not 0xD800 <= code < 0xE000 else _UNKNOWN),
                placing.box(left, bottom, right, top),
                placing.box(loose.left, loose.bottom, loose.right, loose.top),
                _rounded(turn % 4),
                glyph == last,
            )
        )
        last = glyph
    return found, hidden


def believed(chars: list[Char]) -> list[Char]:
    """Returns a page's characters; all unknown where so few stand for so many shapes that the font's map is damaged."""
    drawn = [char for char in chars if not char.text.isspace()]
    shapes = {_shape(char) for char in drawn}
    few = len({char.text for char in drawn})
    if len(shapes) < _MANY_SHAPES or len(shapes) <= _SHAPES_A_CHARACTER * few:
        return chars
    return [char if char.text.isspace() else replace(char, text=chr(_UNKNOWN)) for char in chars]


def _shape(char: Char) -> tuple[int, int, int]:
    """Returns a glyph's width, height and place in twentieths of the height of its font."""
    left, top, right, bottom = char.box
    height = max(char.loose[3] - char.loose[1], 1e-6)
    sides = right - left, bottom - top, top - char.loose[1]
    width, tall, place = (round(20 * side / height) for side in sides)
    return width, tall, place


def _is_control(code: int) -> bool:
    return code < 0x20 or 0x7F <= code < 0xA0


def _rounded(turn: float) -> float:
    whole = round(turn)
    return float(whole % 4) if abs(turn - whole) < 0.03 else turn


def lines(chars: Iterable[Char], grey: NDArray[np.uint8]) -> tuple[list[TextLine], Counter[str]]:
    """The lines of a page in the order of its text layer, and how many words were left out and why.

    `grey` is the rendered page: a word of which it shows nothing is invisible.
    """
    height, width = grey.shape
    left_out: Counter[str] = Counter()
    told = []
    once, left_out["repeated_characters"] = _once(chars)
    for words in _parted(once):
        kept = []
        for word in words:
            quad = _quad(word.chars)
            text = as_drawn(word.text)
            why = "" if text else "empty"
            why = why or ("outside" if not _within(quad, width, height) else "")
            why = why or ("invisible" if is_flat(grey, word.box) else "")
            if why:
                left_out[why] += 1
            else:
                kept.append(word)
        if kept:
            told.append(_line(kept, width, height))
    return told, +left_out


def _once(chars: Iterable[Char]) -> tuple[list[Char], int]:
    """Without characters drawn again almost in place, as bold is faked; and how many those were."""
    seen: set[tuple[str, int, int]] = set()
    kept: list[Char] = []
    repeated, is_again = 0, False
    for char in chars:
        if char.text.isspace():
            kept.append(char)
            continue
        step = max(1.0, 0.15 * (char.box[3] - char.box[1]))
        x, y = int(char.box[0] / step), int(char.box[1] / step)
        if not char.in_ligature:  # else as the character before it, which may be the same one: ff
            is_again = any((char.text, x + dx, y + dy) in seen for dx in (0, -1, 1) for dy in (0, -1, 1))
        if is_again:
            repeated += 1
            continue
        seen.add((char.text, x, y))
        kept.append(char)
    return kept, repeated


def _line(words: list[_Word], width: int, height: int) -> TextLine:
    parts = tuple(TextWord(as_drawn(word.text), _held(_quad(word.chars), width, height)) for word in words)
    quad = _held(_quad([char for word in words for char in word.chars]), width, height)
    return TextLine(joined([part.text for part in parts]), quad, parts)


def _parted(chars: Iterable[Char]) -> Iterator[list[_Word]]:
    """Words, line by line: a line ends with the layer's own line end, a jump, or a gap as of a column."""
    line: list[_Word] = []
    word = _Word()
    last: Char | None = None
    for char in chars:
        if char.text == "\n" or (
            last is not None and char.text != " " and _leaps(last, char, line or [word])
        ):
            line += [word] if word.chars else []
            if line:
                yield line
            line, word, last = [], _Word(), None
        elif char.text == " " and word.chars:
            line.append(word)
            word = _Word()
        if not char.text.isspace():
            word.chars.append(char)
            last = char
    line += [word] if word.chars else []
    if line:
        yield line


def _leaps(last: Char, char: Char, line: list[_Word]) -> bool:
    """Whether `char` cannot stand on one line with `last`: another turn, another height, or far away."""
    if last.turn != char.turn:
        return True
    a, b = _turned(last.loose, last.turn), _turned(char.loose, char.turn)
    size = max(a[3] - a[1], b[3] - b[1], 1.0)
    if last.turn % 1:
        return math.dist(last.box[:2], char.box[:2]) > 3 * size
    middle = (b[1] + b[3]) / 2
    if not a[1] - 0.1 * size <= middle <= a[3] + 0.1 * size:
        ahead = abs((a[0] + a[2]) - (b[0] + b[2])) < 0.6 * size and 0 <= b[1] - a[1] < 1.6 * size
        return not (ahead and _is_column(line, last))
    gap = max(b[0] - a[2], a[0] - b[2])
    return gap > 1.2 * min(size, max(a[3] - a[1], 1.0))


def _is_column(line: list[_Word], last: Char) -> bool:
    """Whether the line so far runs downwards, as vertical Han text does."""
    chars = [char for word in line for char in word.chars]
    if not all("\u2e80" <= char.text[0] <= "\U0003ffff" for char in chars[:3]):
        return False
    first = chars[0] if chars else last
    return (
        abs((first.box[0] + first.box[2]) - (last.box[0] + last.box[2])) < last.loose[2] - last.loose[0] + 1
    )


def _turned(box: Box, turn: float) -> Box:
    """The box in the frame of text turned by so many quarters: along the text, then across it."""
    x1, y1, x2, y2 = box
    return ((x1, y1, x2, y2), (y1, -x2, y2, -x1), (-x2, -y2, -x1, -y1), (-y2, x1, -y1, x2))[round(turn) % 4]


def _quad(chars: list[Char]) -> Quad:
    """The corners that hold all characters, from the text's own top left, clockwise."""
    turn = chars[0].turn
    if turn % 1:
        return _askew(chars)
    boxes = [_turned(_full(char), turn) for char in chars]
    left, top, right, bottom = (
        f(values) for f, values in zip((min, min, max, max), zip(*boxes, strict=True), strict=True)
    )
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    a, b, c, d = (((u, v), (-v, u), (-u, -v), (v, -u))[round(turn) % 4] for u, v in corners)
    return a, b, c, d


def _full(char: Char) -> Box:
    """The ink's box grown towards ascender and descender, but not beyond reason: fonts lie."""
    ink, loose = _turned(char.box, char.turn), _turned(char.loose, char.turn)
    room = max(ink[3] - ink[1], 0.6 * (ink[2] - ink[0]), 1.0)
    top = max(min(ink[1], loose[1]), ink[1] - room)
    bottom = min(max(ink[3], loose[3]), ink[3] + room)
    return _turned((ink[0], top, ink[2], bottom), (4 - char.turn) % 4)


def _askew(chars: list[Char]) -> Quad:
    """The smallest turned rectangle, its corners counted from where the text begins."""
    points = [(x, y) for c in chars for x in (c.box[0], c.box[2]) for y in (c.box[1], c.box[3])]
    corners = cv2.boxPoints(cv2.minAreaRect(np.array(points, np.float32)))
    angle = chars[0].turn * _QUARTER
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    places = corners - corners.mean(0)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    order = [int(np.argmax(places @ along * u + places @ across * v)) for u, v in signs]
    return quad_of([corners[at].tolist() for at in order])


def _within(quad: Quad, width: int, height: int) -> bool:
    return all(-_SLACK <= x <= width + _SLACK and -_SLACK <= y <= height + _SLACK for x, y in quad)


def _held(quad: Quad, width: int, height: int) -> Quad:
    a, b, c, d = ((round(min(max(x, 0), width), 2), round(min(max(y, 0), height), 2)) for x, y in quad)
    return a, b, c, d


_POINTS: Final = 72
_REASONS: Final = {4: "the PDF is encrypted", 2: "not found", 3: "not a PDF, or damaged beyond repair"}


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """Bytes a document, pages read of it, dots an inch, the longer side and characters of a page."""

    max_bytes: int = 100 << 20
    max_pages: int = 200
    dpi: int = 144
    max_side: int = 3000
    min_dpi: int = 48
    max_characters: int = 20_000
    quality: int = 90


def pdf_pages(data: bytes, limits: PdfLimits | None = None) -> Iterator[DocumentPage | PageFailure]:
    """The pages of a PDF, each rendered or a PageFailure, in order.

    Raises RowError for what is no PDF, encrypted, without pages or too large. A document with more
    pages than the limit ends with one PageFailure that says so.
    """
    limits = limits or PdfLimits()
    document = _opened(data, limits)
    try:
        total = len(document)
        if not total:
            raise RowError("undecodable", "the PDF has no pages")
        for number in range(min(total, limits.max_pages)):
            yield _page(document, number, limits)
        if total > limits.max_pages:
            message = f"{total} pages, more than {limits.max_pages}: the rest is left out"
            yield PageFailure(limits.max_pages, "too_large", message)
    finally:
        document.close()


def _opened(data: bytes, limits: PdfLimits) -> Any:
    if not data:
        raise RowError("empty", "the PDF has no bytes")
    if len(data) > limits.max_bytes:
        raise RowError("too_large", f"{len(data)} bytes, more than {limits.max_bytes}")
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        raise RowError("undecodable", _REASONS.get(code or 0, f"pdfium: {error}")) from error


def _page(document: Any, number: int, limits: PdfLimits) -> DocumentPage | PageFailure:
    try:
        page = document[number]
    except pypdfium2.PdfiumError as error:
        return PageFailure(number, "undecodable", f"pdfium: {error}")
    try:
        return _rendered(page, number, limits)
    except pypdfium2.PdfiumError as error:
        return PageFailure(number, "undecodable", f"pdfium: {error}")
    finally:
        page.close()


def _rendered(page: Any, number: int, limits: PdfLimits) -> DocumentPage | PageFailure:
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        return PageFailure(number, "undecodable", f"a page of {width} x {height} points")
    scale = min(limits.dpi / _POINTS, limits.max_side / max(width, height))
    if scale < limits.min_dpi / _POINTS:
        inches = max(width, height) / _POINTS
        message = f"{inches:.0f} inches long: within {limits.max_side} pixels no text could be read"
        return PageFailure(number, "too_many_pixels", message)
    # annotations and forms are not in the text layer, so they are not in the image either
    bitmap = page.render(scale=scale, rev_byteorder=True, draw_annots=False, may_draw_forms=False)
    image = bitmap.to_pil().convert("RGB")
    grey = np.asarray(image.convert("L"))
    textpage = page.get_textpage()
    try:
        placing = Placing(page.raw, image.width, image.height)
        chars, hidden = characters(textpage, placing, limits.max_characters)
    finally:
        textpage.close()
    told, left_out = lines(believed(chars), grey)
    if hidden:
        left_out["hidden_characters"] = hidden
    out = BytesIO()
    image.save(out, "JPEG", quality=limits.quality)
    return DocumentPage(
        number, out.getvalue(), image.width, image.height, tuple(told), dict(sorted(left_out.items()))
    )
