"""Reading back measures agreement, and nothing else."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from schemas.sample import Quad
from synth.page.maker import PageMaker, PageSettings
from synth.readers import Agreement, Found, RapidReader, agree, can_read, plain
from tests import needs


def _quad(x: float, y: float, width: float, height: float = 20) -> Quad:
    return (x, y), (x + width, y), (x + width, y + height), (x, y + height)


def test_what_is_read_as_it_stands_agrees() -> None:
    """Equal lines in equal places are no errors, and all covered."""
    truth = [("first line", _quad(0, 0, 100)), ("second", _quad(0, 40, 60))]
    found = [Found(text, quad, 1.0) for text, quad in truth]
    assert agree(truth, found) == Agreement(characters=15, errors=0, extra=0, lines=2, covered=2)


def test_columns_read_as_one_line_agree() -> None:
    """A reader that joins two columns, or parts one line, has made no error."""
    columns = [("left", _quad(0, 0, 100)), ("right", _quad(110, 0, 100))]
    joined = agree(columns, [Found("left right", _quad(0, 0, 210), 1.0)])
    assert (joined.errors, joined.covered, joined.extra) == (0, 2, 0)
    parted = agree([("left right", _quad(0, 0, 210))], [Found(text, quad, 1.0) for text, quad in columns])
    assert (parted.errors, parted.covered, parted.extra) == (0, 1, 0)


def test_what_is_missed_and_what_is_made_up_are_told_apart() -> None:
    """A line that is not found costs all its characters; words read where none are known are extra."""
    verdict = agree([("known", _quad(0, 0, 100))], [Found("ghost!", _quad(0, 300, 100), 1.0)])
    assert verdict == Agreement(characters=5, errors=5, extra=6, lines=1, covered=0)
    assert verdict.error_rate == 1.0


def test_a_box_elsewhere_or_far_too_large_does_not_cover() -> None:
    """A found line covers a known one from IoU 0.5 on."""
    truth = [("known", _quad(0, 0, 100))]
    assert agree(truth, [Found("known", _quad(0, 0, 100, 39), 1.0)]).covered == 1
    assert agree(truth, [Found("known", _quad(0, 0, 100, 41), 1.0)]).covered == 0


def test_kinds_of_quotes_and_spaces_do_not_matter() -> None:
    """Typesetters' quotes, full-width forms, dashes and leaders compare as their plain kin."""
    assert plain("“Ａ — b”……… ９") == plain('"A - b". 9')


def test_a_mild_page_is_read_back(tmp_path: Path) -> None:
    """PP-OCR reads an English page of the mild setting almost without error, and finds its lines."""
    needs.package("rapidocr")
    page = PageMaker(PageSettings(5, "en", "mild"), found=needs.fonts("en")).page(1)
    reader = RapidReader()
    found = reader.read(np.asarray(Image.open(BytesIO(page.image)).convert("RGB")))
    verdict = agree([(line.text, line.quad) for line in page.lines], found)
    assert verdict.error_rate <= 0.03
    assert verdict.covered >= 0.9 * verdict.lines
    assert can_read(reader, page.text)
    assert not can_read(reader, "안녕하세요")
    assert reader.read(np.full((200, 300, 3), 255, np.uint8)) == []
