"""Samples as one PNG, drawn with Pillow alone.

What is to be drawn of a sample: which regions on which showing of an image, in which colours.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from schemas.sample import ImageRef, Phrase, Sample, Segment, Text, Turn

COLOURS: Final = (
    *("#d1242f", "#0969da", "#1a7f37", "#8250df", "#bc4c00", "#0e7490", "#bf3989", "#7a5c00", "#4d5d00"),
    *("#5a32a3", "#006d5b", "#953800"),
)
"""Dark enough to be read on white, far enough apart to be told from each other."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample and its images' bytes, as they are stored."""

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
        """Returns the left and the top of a label of that size, within an image of that size."""
        left, top = min(x for x, _ in self.corners), min(y for _, y in self.corners)
        if self.beside and left >= wide:
            left -= wide
        return max(min(left, width - wide), 0), max(min(top, height - high), 0)


@dataclass(frozen=True, slots=True)
class Scene:
    """`regions`: for each showing of an image, in order, what is drawn on it. `numbers`: phrases' own, by words.

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
    """What is to be drawn of turns: regions belong to the image that was shown last before them."""
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


WIDTH: Final = 1000
MAX_HEIGHT: Final = 30_000
"""Pixels; what goes beyond is left out, and the last line says how many samples."""
_MARGIN, _LINE, _SIZE, _SIDE = 24, 26, 17, 640
_INK, _PALE, _TAUGHT, _PAPER = "#1f2328", "#57606a", "#fff3b0", "#ffffff"
_FONTS: Final = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/System/Library/Fonts/PingFang.ttc",
)
"""Fonts with Chinese; without any of them Pillow's own is used, which has Latin letters."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def view_png(shown: Iterable[Shown], out: Path, font: Path | None = None) -> None:
    """Draws `shown` one below the other and writes them to `out`; `font` is the file of a font for the words."""
    face = load_font(font)
    sheets: list[Image.Image] = []
    height = left_out = 0
    for one in shown:
        sheet = draw(one, face)
        if height + sheet.height > MAX_HEIGHT and sheets:
            left_out += 1
            continue
        sheets.append(sheet)
        height += sheet.height
    if left_out:
        sheets.append(_note(f"{left_out} more samples do not fit", face))
        height += sheets[-1].height
    page = Image.new("RGB", (WIDTH, max(height, 1)), _PAPER)
    top = 0
    for sheet in sheets:
        page.paste(sheet, (0, top))
        top += sheet.height
    page.save(out, "PNG")


def draw(shown: Shown, font: Font | None = None) -> Image.Image:
    """One sample as an image of WIDTH pixels across."""
    pen = _Pen(font or load_font(None))
    sample = shown.sample
    pen.write(" · ".join((sample.key, sample.split, sample.source)), _PALE)
    pen.end_line()
    for example in sample.examples:
        drawn = scene(example.turns)
        pen.write(" · ".join((example.task, example.language)), _PALE)
        pen.end_line()
        showing = 0
        for turn in example.turns:
            showing = _turn(pen, shown, (example.task, turn), drawn, showing)
    pen.rule()
    return pen.sheet()


def load_font(path: Path | None) -> Font:
    """The font of that file, or the first of those with Chinese that is there, or Pillow's own."""
    for one in [str(path)] if path else _FONTS:
        if path or Path(one).is_file():
            return ImageFont.truetype(one, _SIZE)
    return ImageFont.load_default(_SIZE)


def annotate(data: bytes, regions: Sequence[Region], font: Font) -> Image.Image:
    """The stored image, its longer side at most 640 pixels, with regions and their numbers."""
    drawn = opened(data)
    size = drawn.size
    scale = min(_SIDE / max(size), 1.0)
    if scale < 1:
        drawn = drawn.resize((max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)))
    pen = ImageDraw.Draw(drawn)
    for region in regions:
        corners = [(x * scale, y * scale) for x, y in region.corners]
        pen.line([*corners, corners[0]], fill=region.colour, width=3, joint="curve")
    for region in regions:
        label = str(region.number)
        wide, high = pen.textlength(label, font) + 8, _SIZE + 4
        left, top = region.label(wide / scale, high / scale, *size)
        left, top = left * scale, top * scale
        pen.rectangle((left, top, left + wide, top + high), fill=region.colour)
        pen.text((left + 4, top + high / 2), label, fill=_PAPER, font=font, anchor=_anchor(font, "lm"))
    return drawn


def opened(data: bytes) -> Image.Image:
    """The image as it is stored, without its EXIF turn; a grey one where it cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Image.new("RGB", (_SIDE, _SIDE // 2), "#bbbbbb")


def _turn(pen: "_Pen", shown: Shown, said: tuple[str, Turn], drawn: Scene, showing: int) -> int:
    task, turn = said
    if turn.role != "document":
        pen.write(f"{turn.role}: ", _PALE)
    for segment in turn.segments:
        if isinstance(segment, ImageRef):
            pen.paste(annotate(shown.images[segment.image], drawn.regions[showing], pen.font))
            showing += 1
        else:
            _segment(pen, segment, drawn, task)
    pen.end_line()
    return showing


def _segment(pen: "_Pen", segment: Segment, drawn: Scene, task: str) -> None:
    if isinstance(segment, Text):
        pen.write(segment.text, _INK, segment.supervised)
    elif isinstance(segment, Phrase):
        number = drawn.number(segment)
        ink = _INK if number is None else colour(number)
        words_taught, regions_taught = taught(task, segment)
        pen.write(segment.phrase, ink, words_taught, underlined=True)
        if number is not None:
            own = bool(segment.boxes or segment.quads)
            pen.write(f"[{number}]", ink, own and regions_taught)
        if task == "ocr":
            pen.write(" ", ink)


def _note(text: str, font: Font) -> Image.Image:
    pen = _Pen(font)
    pen.write(text, _PALE)
    pen.end_line()
    return pen.sheet()


def _anchor(font: Font, anchor: str) -> str | None:
    """Anchors are for scalable fonts only."""
    return anchor if isinstance(font, ImageFont.FreeTypeFont) else None


@dataclass(slots=True)
class _Pen:
    """Writes wrapped words and images downwards; things are placed first and drawn once the height is known."""

    font: Font
    x: float = _MARGIN
    y: int = _MARGIN
    words: list[tuple[float, int, str, str, bool, bool]] = field(default_factory=list)
    images: list[tuple[int, Image.Image]] = field(default_factory=list)
    rules: list[int] = field(default_factory=list)

    def write(self, text: str, ink: str, taught: bool = False, underlined: bool = False) -> None:
        for number, line in enumerate(text.splitlines() or [""]):
            if number:
                self.end_line()
            for piece in _pieces(line):
                wide = self.font.getlength(piece)
                if self.x + wide > WIDTH - _MARGIN and self.x > _MARGIN:
                    self.end_line()
                self.words.append((self.x, self.y, piece, ink, taught, underlined))
                self.x += wide

    def paste(self, image: Image.Image) -> None:
        if self.x > _MARGIN:
            self.end_line()
        self.images.append((self.y, image))
        self.y += image.height + 8

    def end_line(self) -> None:
        self.x = _MARGIN
        self.y += _LINE

    def rule(self) -> None:
        self.rules.append(self.y + 8)
        self.y += 8

    def sheet(self) -> Image.Image:
        sheet = Image.new("RGB", (WIDTH, self.y + 8), _PAPER)
        pen = ImageDraw.Draw(sheet)
        for y, image in self.images:
            sheet.paste(image, (_MARGIN, y))
        for x, y, piece, ink, marked, underlined in self.words:
            wide = self.font.getlength(piece)
            if marked:
                pen.rectangle((x, y, x + wide, y + _LINE - 4), fill=_TAUGHT)
            pen.text((x, y + _LINE / 2 - 2), piece, fill=ink, font=self.font, anchor=_anchor(self.font, "lm"))
            if underlined:
                pen.line((x, y + _LINE - 4, x + wide, y + _LINE - 4), fill=ink, width=2)
        for y in self.rules:
            pen.line((0, y, WIDTH, y), fill="#d0d7de", width=2)
        return sheet


def _pieces(line: str) -> list[str]:
    """What a line may be broken into: words with the space after them, and each wide character by itself."""
    pieces, word = [], ""
    for character in line:
        if ord(character) > 0x2E7F or len(word) >= 60:
            pieces += [word, character]
            word = ""
        else:
            word += character
            if character.isspace():
                pieces.append(word)
                word = ""
    return [piece for piece in [*pieces, word] if piece]
