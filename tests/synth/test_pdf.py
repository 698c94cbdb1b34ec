"""A PDF page is told by what it shows."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.errors import RowError
from synth.documents import DocumentPage, PageFailure, judge
from synth.pdf import PdfLimits, pdf_pages
from tests.synth.made_pdf import SHIFTED, Sheet, lost, pdf, text

READ_APART = """
import resource, sys
from schemas.errors import RowError
from synth.pdf import PdfLimits, pdf_pages
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sys.argv[1:]:
    print(path, flush=True)
    try:
        print(len(list(pdf_pages(open(path, "rb").read(), PdfLimits(max_pages=5)))))
    except RowError as error:
        print(error.kind)
"""


def _only(sheet: Sheet) -> DocumentPage:
    (page,) = pdf_pages(pdf([sheet]))
    assert isinstance(page, DocumentPage)
    return page


def _ink(page: DocumentPage) -> tuple[float, float, float, float]:
    """The bounds of everything dark on the page."""
    grey = np.asarray(Image.open(BytesIO(page.image)).convert("L"))
    rows, columns = np.nonzero(grey < 128)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_quads_hold_the_ink_however_the_page_is_turned(turn: int) -> None:
    """On a page turned by quarters the only line's quad holds all ink, and little else."""
    page = _only(Sheet(text("Turned page", 40, 120), extra=f"/Rotate {turn}"))
    (line,) = page.lines
    assert line.text == "Turned page"
    left, top, right, bottom = _ink(page)
    xs, ys = [x for x, _ in line.quad], [y for _, y in line.quad]
    assert min(xs) - 3 <= left <= min(xs) + 12
    assert max(xs) - 12 <= right <= max(xs) + 3
    assert min(ys) - 3 <= top <= min(ys) + 12
    assert max(ys) - 12 <= bottom <= max(ys) + 3


@pytest.mark.parametrize(("turn", "begins"), [(0, 0), (90, 1), (180, 2), (270, 3)])
def test_a_quad_begins_where_its_text_begins(turn: int, begins: int) -> None:
    """Corners are counted clockwise from the text's own top left: as the page turns, so does the first corner."""
    page = _only(Sheet(text("Turned page", 40, 120), extra=f"/Rotate {turn}"))
    quad = page.lines[0].quad
    xs, ys = sorted(x for x, _ in quad), sorted(y for _, y in quad)
    corners = [(xs[0], ys[0]), (xs[-1], ys[0]), (xs[-1], ys[-1]), (xs[0], ys[-1])]
    assert quad[0] == corners[begins]


def test_a_cropped_page_tells_only_what_the_crop_shows() -> None:
    """Text outside the crop box is not in the truth, and the rest is where the cropped picture has it."""
    content = (
        text("inside the crop", 110, 100)
        + text("far away", 10, 180)
        + text("half of this is cut off", 220, 60)
    )
    page = _only(Sheet(content, extra="/CropBox [100 50 260 150]"))
    assert [line.text for line in page.lines][:1] == ["inside the crop"]
    assert "far" not in page.text
    assert (page.width, page.height) == (320, 200)
    assert all(0 <= x <= 320 and 0 <= y <= 200 for line in page.lines for x, y in line.quad)


def test_text_that_is_not_seen_is_not_told() -> None:
    """Invisible, white and covered words are left out and counted."""
    content = (
        text("seen", 20, 150)
        + text("invisible", 20, 120, mode=3)
        + "1 g\n"
        + text("white", 20, 90)
        + "0 g\n"
        + text("covered", 20, 60)
        + "0.5 g 10 50 200 30 re f\n"
    )
    page = _only(Sheet(content))
    assert page.text == "seen"
    assert page.left_out["hidden_characters"] == len("invisible")
    assert page.left_out["invisible"] == 2


def test_letters_drawn_twice_are_told_once() -> None:
    """Bold faked by drawing a line again with a small shift is one line."""
    page = _only(Sheet(text("Heavy words", 20, 100) + text("Heavy words", 20.3, 100)))
    assert page.text == "Heavy words"


def test_columns_are_lines_of_their_own() -> None:
    """A gap as between columns parts a line; a space does not."""
    page = _only(Sheet(text("left one", 20, 100) + text("right one", 180, 100)))
    assert [line.text for line in page.lines] == ["left one", "right one"]
    assert [word.text for word in page.lines[0].words] == ["left", "one"]


def test_what_is_no_readable_pdf_is_a_row_error(test_data: Path) -> None:
    """No bytes, no PDF, no pages, an encrypted one and one too large: each has its class and sentence."""
    encrypted = (test_data / "hostile/pdf/aes-256-r6.pdf").read_bytes()
    cases = [
        (b"", PdfLimits(), "empty"),
        (b"no pdf at all", PdfLimits(), "undecodable"),
        (pdf([]), PdfLimits(), "undecodable"),
        (encrypted, PdfLimits(), "undecodable"),
        (pdf([Sheet("")]), PdfLimits(max_bytes=10), "too_large"),
    ]
    for data, limits, kind in cases:
        with pytest.raises(RowError) as caught:
            list(pdf_pages(data, limits))
        assert caught.value.kind == kind
    with pytest.raises(RowError, match="encrypted"):
        list(pdf_pages(encrypted))


def test_a_very_long_document_is_read_up_to_the_limit() -> None:
    """Of 10,000 pages the first few are read, and the last thing told is how many were not."""
    data = pdf([Sheet(text("page", 20, 100))] * 10_000)
    pages = list(pdf_pages(data, PdfLimits(max_pages=3)))
    assert [type(page).__name__ for page in pages] == ["DocumentPage"] * 3 + ["PageFailure"]
    last = pages[-1]
    assert isinstance(last, PageFailure)
    assert (last.kind, last.number) == ("too_large", 3)
    assert "10000 pages" in last.message


def test_a_giant_page_is_a_failure_and_not_a_giant_picture() -> None:
    """200 inches at any readable scale are too many pixels; a page a little too large is rendered smaller."""
    giant, large = pdf_pages(pdf([Sheet("", 14_400, 14_400), Sheet(text("Large", 900, 900, 90), 2000, 2000)]))
    assert isinstance(giant, PageFailure)
    assert giant.kind == "too_many_pixels"
    assert isinstance(large, DocumentPage)
    assert (large.width, large.text) == (3000, "Large")


def test_pages_come_out_the_same_each_time() -> None:
    """Equal bytes and limits give equal pages."""
    data = pdf([Sheet(text("again", 20, 100)), Sheet(text("and again", 20, 100))])
    assert list(pdf_pages(data)) == list(pdf_pages(data))


WORDS = "The quick brown fox jumps over the lazy dog"


@pytest.mark.parametrize(
    "codes", [(0x2D,), (0x2022,), (0x41,), (0x2D, 0x2022), (0x01,), (0x1F,), (0x85,), (*range(3, 9),)]
)
def test_a_page_whose_letters_are_all_said_to_be_one_is_unreadable(codes: tuple[int, ...]) -> None:
    """A damaged ToUnicode map tells one or two characters, or control characters, where many letters are shown."""
    (page,) = pdf_pages(pdf([Sheet(text(WORDS, 10, 100, size=12))], lost(*codes)))
    assert isinstance(page, DocumentPage)
    assert [*judge(page)] == ["unreadable_text"]


@pytest.mark.parametrize(
    ("words", "to_unicode"),
    [(WORDS, ""), (WORDS, SHIFTED), ("-" * 40, ""), ("aaaa bbbb " * 4, ""), ("1.50 ..... 10 " * 3, "")],
)
def test_a_page_of_few_characters_is_not_unreadable_for_that(words: str, to_unicode: str) -> None:
    """Rules of dashes and tables of digits in three sizes have as few shapes as characters."""
    content = "".join(text(words, 10, 40 * at, size=size) for at, size in enumerate((6, 9, 12), 1))
    (page,) = pdf_pages(pdf([Sheet(content)], to_unicode))
    assert isinstance(page, DocumentPage)
    assert "unreadable_text" not in judge(page)


def test_real_documents_are_kept(test_data: Path) -> None:
    """Every real PDF is read, and at least four in five of the first pages that hold text are kept."""
    verdicts = []
    for line in (test_data / "documents/pdf.jsonl").read_text("utf-8").splitlines():
        data = (test_data / "documents" / json.loads(line)["file"]).read_bytes()
        for page in pdf_pages(data, PdfLimits(max_pages=1, dpi=100)):
            if isinstance(page, DocumentPage) and page.lines:
                verdicts.append(judge(page))
                for one in page.lines:
                    assert all(0 <= x <= page.width and 0 <= y <= page.height for x, y in one.quad)
    assert len(verdicts) >= 10
    assert sum(not failed for failed in verdicts) >= 0.8 * len(verdicts)


def test_hostile_documents_neither_crash_nor_hang(test_data: Path) -> None:
    """Read one after the other in a process apart, all hostile PDFs end in pages or row errors within a minute."""
    lines = (test_data / "hostile/index.jsonl").read_text("utf-8").splitlines()
    files = [
        str(test_data / "hostile" / row["file"]) for row in map(json.loads, lines) if row["kind"] == "pdf"
    ]
    assert files
    command = [sys.executable, "-c", READ_APART, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
