"""An HTML page is told by what a browser shows, and reaches nothing beyond its folder."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import InputError, RowError
from synth.documents import DocumentPage, PageFailure
from synth.web import WebLimits, WebRenderer

pytest.importorskip("playwright")
STYLE = "<style>body { margin: 20px; font: 20px sans-serif } p { margin: 10px 0 }</style>"


@pytest.fixture(scope="module")
def browser() -> Iterator[WebRenderer]:
    """One browser for all tests; skips where there is no Chromium."""
    try:
        renderer = WebRenderer(WebLimits(width=600, height=400, max_pages=6, max_bytes=2_000_000, seconds=30))
    except InputError as error:
        pytest.skip(str(error))
    with renderer:
        yield renderer


def _pages(browser: WebRenderer, body: str, folder: Path | None = None) -> list[DocumentPage]:
    pages = list(browser.pages(f"<!doctype html>{STYLE}{body}".encode(), folder))
    assert all(isinstance(page, DocumentPage) for page in pages)
    return [page for page in pages if isinstance(page, DocumentPage)]


def test_lines_are_as_the_browser_breaks_them(browser: WebRenderer) -> None:
    """A paragraph becomes its lines, a heading another; words have quads of their own within the page."""
    (page,) = _pages(browser, f"<h1>Title here</h1><p>{'several words ' * 20}</p><p>漢字也好 and 汉字</p>")
    assert page.lines[0].text == "Title here"
    assert page.lines[-1].text == "漢字也好 and 汉字"
    assert len(page.lines) > 3
    for line in page.lines:
        assert line.text.split() == [part for word in line.words for part in word.text.split()]
        for region in (line, *line.words):
            assert all(0 <= x <= page.width and 0 <= y <= page.height for x, y in region.quad)


@pytest.mark.parametrize(
    "hidden",
    [
        '<p style="display:none">secret</p>',
        '<p style="visibility:hidden">secret</p>',
        '<p style="opacity:0">secret</p>',
        '<p style="color:transparent">secret</p>',
        '<p style="color:#fff">secret</p>',
        '<p style="font-size:1px">secret</p>',
        '<p style="position:absolute;left:-900px">secret</p>',
        '<div style="width:5px;overflow:hidden">secret</div>',
        '<div style="clip-path:inset(50%);width:5px">secret</div>',
        '<p style="position:relative">secret<span style="position:absolute;inset:0;background:#ccc"></span></p>',
        "<noscript>secret</noscript>",
        '<img alt="secret" src="missing.png">',
        '<input value="secret"><textarea>secret</textarea>',
        "<script>document.write('secret')</script>",
        "<template>secret</template>",
    ],
)
def test_what_is_not_shown_is_not_told(browser: WebRenderer, hidden: str) -> None:
    """Hidden, see-through, clipped and covered text is in no line; what stands around it is."""
    (page,) = _pages(browser, f"<p>before it</p>{hidden}<p>after it</p>")
    assert [line.text for line in page.lines] == ["before it", "after it"]


def test_a_long_document_is_cut_between_lines(browser: WebRenderer) -> None:
    """Every numbered line is told exactly once, whole, on one of several pages in order."""
    pages = _pages(browser, "".join(f"<p>line number {at}</p>" for at in range(40)))
    assert len(pages) > 2
    assert [line.text for page in pages for line in page.lines] == [f"line number {at}" for at in range(40)]
    assert [page.number for page in pages] == list(range(len(pages)))


def test_an_endless_document_ends_at_the_limit(browser: WebRenderer) -> None:
    """A page too high for the limit is read as far as that, and its last word says so."""
    pages = list(browser.pages(b"<p>top</p><div style='height:1000000px'></div>"))
    assert len(pages) == 7
    last = pages[-1]
    assert isinstance(last, PageFailure)
    assert last.kind == "too_large"


def test_too_many_bytes_and_none_at_all_are_row_errors(browser: WebRenderer) -> None:
    """A file above the limit is never loaded; an empty one is none."""
    for data, kind in ((b"x" * 2_000_001, "too_large"), (b" \n", "empty")):
        with pytest.raises(RowError) as caught:
            list(browser.pages(data))
        assert caught.value.kind == kind


def test_files_of_the_folder_are_shown_and_no_others(browser: WebRenderer, tmp_path: Path) -> None:
    """A style sheet beside the page works; one above it, through a link out of it or by address does not."""
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "near.css").write_text("#near { display: none }")
    (tmp_path / "far.css").write_text("#far, #linked { display: none }")
    (folder / "link.css").symlink_to(tmp_path / "far.css")
    sheets = ("near.css", "../far.css", "%2e%2e/far.css", "link.css", f"file://{tmp_path}/far.css")
    links = "".join(f'<link rel="stylesheet" href="{sheet}">' for sheet in sheets)
    (page,) = _pages(
        browser, f'{links}<p id="near">near</p><p id="far">far</p><p id="linked">linked</p>', folder
    )
    assert page.text == "far\nlinked"


@pytest.mark.parametrize(
    "trap",
    [
        '<meta http-equiv="refresh" content="0;url=/">',
        '<meta http-equiv="refresh" content="0;url=file:///etc/passwd">',
        '<iframe src="file:///etc/passwd"></iframe>',
        '<iframe srcdoc="<p>framed</p>"></iframe>',
        '<img src="http://127.0.0.1:9/x.png"><link rel="stylesheet" href="https://example.com/x.css">',
        '<base href="file:///etc/"><img src="passwd">',
        '<object data="file:///etc/passwd"></object>',
    ],
)
def test_traps_lead_nowhere(browser: WebRenderer, trap: str) -> None:
    """Refreshes, frames and addresses elsewhere are not followed; the page is told as it stands."""
    (page,) = _pages(browser, f"<p>still here</p>{trap}")
    assert page.text == "still here"


def test_a_browser_that_died_is_replaced(browser: WebRenderer) -> None:
    """After its browser is killed from outside the renderer serves the next document with a new one."""
    (before,) = _pages(browser, "<p>first</p>")
    assert browser._chromium is not None
    browser._chromium.kill()
    (after,) = _pages(browser, "<p>first</p>")
    assert after == before


def test_a_document_that_takes_too_long_is_given_up(browser: WebRenderer) -> None:
    """At the deadline the browser is killed, the document is a row error, and the next one is served."""
    patient = browser.limits
    browser.limits = replace(patient, seconds=1.0)
    try:
        with pytest.raises(RowError) as caught:
            list(browser.pages(b"<div style='filter:blur(9px)'>" * 20_000 + b"<p>deep</p>"))
    finally:
        browser.limits = patient
    assert caught.value.kind == "deadline"
    (page,) = _pages(browser, "<p>next document</p>")
    assert page.text == "next document"


def test_a_machine_without_chromium_has_a_remedy() -> None:
    """A browser that is not there is one clear sentence."""
    with pytest.raises(InputError, match="apt-get install chromium"):
        WebRenderer(executable="/nonexistent/chromium")
