"""An HTML page is told by what a browser shows, and reaches nothing beyond its folder."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from schemas.errors import InputError, RowError
from synth import chromium
from synth.documents import DocumentPage, PageFailure
from synth.web import WebLimits, WebRenderer
from tests import needs

needs.package("playwright")
STYLE = "<style>body { margin: 20px; font: 20px sans-serif } p { margin: 10px 0 }</style>"


@pytest.fixture(scope="module")
def browser() -> Iterator[WebRenderer]:
    """One browser for all tests; skips where there is no Chromium."""
    limits = WebLimits(width=600, height=400, max_pages=6, max_bytes=2_000_000, seconds=30)
    with WebRenderer(limits, needs.chromium()) as renderer:
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


HIDDEN = (
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
)


def test_what_is_not_shown_is_not_told(browser: WebRenderer) -> None:
    """Hidden, see-through, clipped and covered text is in no line; what stands around it is."""
    shown = [f"{side} {at}" for at in range(len(HIDDEN)) for side in ("before", "after")]
    body = [f"<p>before {at}</p>{hidden}<p>after {at}</p>" for at, hidden in enumerate(HIDDEN)]
    pages = _pages(browser, "".join(body))
    assert [line.text for page in pages for line in page.lines] == shown


UNTOLD = """<style>body {margin: 20px; font: 24px sans-serif}</style><p>One line of words.</p>
<details><summary>Summary</summary>folded text <p>folded paragraph</p></details>
<details open><summary>Open</summary>unfolded</details>
<iframe srcdoc="<p style='font-size: 40px'>framed</p>" width=300 height=90></iframe>
<ol start=7777><li>item</li></ol>
<p style="transform: rotate(20deg); width: 200px; margin: 80px">turned words</p>
<p style="rotate: 180deg">upside down</p><p style="transform: translate(5px, 3px)">moved</p>"""


def test_what_no_upright_line_can_tell_is_neither_shown_nor_told(browser: WebRenderer) -> None:
    """Folded details, frames of their own source, list markers and turned text: no ink is without words."""
    pages = _pages(browser, UNTOLD)
    told = [line.text for page in pages for line in page.lines]
    assert told == ["One line of words.", "Summary", "Open", "unfolded", "item", "moved"]
    for page in pages:
        grey = np.array(Image.open(BytesIO(page.image)).convert("L"))
        for line in page.lines:
            (left, top), _, (right, bottom), _ = line.quad
            assert grey[int(top) : int(bottom) + 1, int(left) : int(right) + 1].min() < 128
            grey[max(int(top) - 6, 0) : int(bottom) + 7, max(int(left) - 6, 0) : int(right) + 7] = 255
        assert grey.min() > 128


def test_a_column_is_one_line(browser: WebRenderer) -> None:
    """Text that runs downwards is told column by column, from the right; letters lie on their side."""
    needs.fonts("zh")
    style = "writing-mode: vertical-rl; height: 200px; font-size: 24px"
    (page,) = _pages(
        browser, f"<meta charset=utf-8><div style='{style}'>きのここにあり<br>すのて<br>Harbour</div>"
    )
    first, second, third = page.lines
    assert [line.text for line in page.lines] == ["きのここにあり", "すのて", "Harbour"]
    assert first.quad[0][0] > second.quad[0][0] > third.quad[3][0]
    (x1, y1), (x2, y2), *_ = first.quad
    assert (x2 - x1 < 40, y1 == y2, first.quad[2][1] - y1 > 100) == (True, True, True)
    (x1, y1), (x2, y2), *_ = third.quad
    assert (x1 == x2, y2 - y1 > 40) == (True, True)


def test_words_across_each_other_are_not_told(browser: WebRenderer) -> None:
    """Where two texts lie on one place neither can be read; tight lines and superscripts stay."""
    across = '<p style="position:absolute;top:60px;left:20px">thoughtlessness</p>'
    across += '<p style="position:absolute;top:63px;left:110px">thoughtfulness</p>'
    tight = '<p style="margin-top:90px;line-height:0.95;width:80px">set tight in lines</p>'
    (page,) = _pages(browser, f"<p>before it</p>{across}{tight}<p>x<sup>2</sup> and H<sub>2</sub>O</p>")
    assert "".join(page.text.split()) == "beforeitsettightinlinesx2andH2O"
    assert page.left_out["overlapping"] == 2


def test_characters_without_a_font_are_not_told(browser: WebRenderer) -> None:
    """A word that the browser draws as boxes, for want of a font, is no text of the page."""
    (page,) = _pages(browser, "<p>before \U0001e2c0\U0001e2c1 after</p>")
    assert page.text == "before after"
    assert page.left_out["without_font"] == 1


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
        '<iframe height="60" src="file:///etc/passwd"></iframe><iframe height="60" srcdoc="<p>framed</p>"></iframe>'
        '<img src="http://127.0.0.1:9/x.png"><link rel="stylesheet" href="https://example.com/x.css">'
        '<object height="60" data="file:///etc/passwd"></object>',
        '<base href="file:///etc/"><img src="passwd">',
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


@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_a_browser_killed_while_it_opens_a_page(
    browser: WebRenderer, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    """Whenever Chromium is killed, the document is a row error or was through, and the next one is served."""
    monkeypatch.setattr(chromium, "_GRACE", 1.0)
    _pages(browser, "<p>warm</p>")
    assert browser._chromium is not None
    killed = threading.Timer(delay, os.killpg, (browser._chromium._process.pid, signal.SIGKILL))
    killed.start()
    with contextlib.suppress(RowError):
        list(browser.pages(b"<p>doomed</p>"))
    killed.join()
    (page,) = _pages(browser, "<p>next document</p>")
    assert page.text == "next document"


def test_within_an_event_loop(browser: WebRenderer) -> None:
    """Pages are rendered where an event loop runs, as in every cell of a notebook; two renderers get along."""

    async def cell() -> int:
        with WebRenderer() as other:
            return len(list(browser.pages(b"<p>words</p>"))) + len(list(other.pages(b"<p>words</p>")))

    assert asyncio.run(cell()) == 2


def test_a_driver_that_hangs_is_ended(browser: WebRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where playwright's process no longer passes anything on, it goes after its browser, and both come anew."""
    monkeypatch.setattr(chromium, "_GRACE", 1.0)
    monkeypatch.setattr(chromium, "_PATIENCE", 1)
    _pages(browser, "<p>warm</p>")
    assert browser._driver is not None
    for process in browser._driver._processes:
        os.kill(process, signal.SIGSTOP)
    patient = browser.limits
    browser.limits = replace(patient, seconds=0.5)
    try:
        with pytest.raises(RowError) as caught:
            list(browser.pages(b"<p>doomed</p>"))
    finally:
        browser.limits = patient
    assert caught.value.kind == "deadline"
    (page,) = _pages(browser, "<p>next document</p>")
    assert page.text == "next document"


RENDER_AND_WAIT = """
import sys, time
from synth.web import WebRenderer
renderer = WebRenderer()
list(renderer.pages(b"<p>words</p>"))
print(renderer._chromium._process.pid, renderer._chromium._profile.name, flush=True)
time.sleep(600)
"""


def test_a_killed_process_leaves_no_browser_behind(browser: WebRenderer) -> None:
    """SIGKILL of the process that renders ends its Chromium too, and its profile is removed."""
    process = subprocess.Popen([sys.executable, "-c", RENDER_AND_WAIT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    leader, profile = process.stdout.readline().split()
    assert _session(int(leader))
    process.kill()
    process.communicate()
    until = time.monotonic() + 120
    while time.monotonic() < until and (_session(int(leader)) or Path(profile).exists()):
        time.sleep(0.1)
    assert not _session(int(leader))
    assert not Path(profile).exists()


def _session(leader: int) -> list[str]:
    """The processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(folder.name)
    return found


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of an HTTP server on loopback, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"127.0.0.1:{listening.server_port}", asked
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_no_request_reaches_the_network(browser: WebRenderer, server: tuple[str, list[str]]) -> None:
    """A server on loopback hears nothing of a page that names it in every way a page can."""
    address, asked = server
    with urlopen(f"http://{address}/alive"):
        assert asked == ["/alive"]
    at = f"http://{address}/"
    tags = (
        f'<img src="{at}1"><img srcset="{at}2 2x"><link rel="stylesheet" href="{at}3"><script src="{at}4"></script>'
        f'<iframe src="{at}5"></iframe><object data="{at}6"></object><embed src="{at}7"><video src="{at}8"></video>'
        f'<style>@import "{at}9"; @font-face {{ font-family: x; src: url({at}10) }} p {{ font-family: x; '
        f'background: url({at}11) }}</style><link rel="preload" as="image" href="{at}12">'
        f'<link rel="prefetch" href="{at}13"><link rel="preconnect" href="{at}"><link rel="dns-prefetch" href="{at}">'
        f'<link rel="icon" href="{at}14"><meta http-equiv="refresh" content="0;url={at}15">'
        f"<script>fetch('{at}16'); new WebSocket('ws://{address}/17')</script>"
        f'<audio autoplay src="{at}18"></audio><input type="image" src="{at}19"><body background="{at}20">'
        f'<svg><image href="{at}21"/><use href="{at}22#x"/></svg><link rel="manifest" href="{at}23">'
    )
    assert "still here" in _pages(browser, f"<p>still here</p>{tags}")[0].text
    assert asked == ["/alive"]


def test_a_frame_shows_no_file_of_the_machine(browser: WebRenderer) -> None:
    """A frame on /etc/passwd is as empty to the eye as one on nothing, in text and picture alike."""
    known = Path("/etc/passwd").read_text().split(":")[0]
    frame = '<p>before</p><iframe width="500" height="200" src="{}"></iframe>'
    (trapped,) = _pages(browser, frame.format("file:///etc/passwd"))
    (empty,) = _pages(browser, frame.format("about:blank"))
    assert known not in trapped.text
    assert trapped == empty


def test_scripts_do_not_run(browser: WebRenderer) -> None:
    """A page that a script would make longer at each scroll stays as it was written; so do its handlers."""
    more = "document.body.insertAdjacentHTML('beforeend', '<p>more</p>'.repeat(100))"
    body = (
        f"<p>all there is</p><script>onscroll = onload = () => {{ {more} }}; setInterval(onscroll, 1)</script>"
        f'<img src="nothing.png" onerror="{more}" onload="{more}"><svg onload="{more}"></svg>'
    )
    (page,) = _pages(browser, body)
    assert page.text == "all there is"


def test_fifty_megabytes_are_refused_at_once() -> None:
    """By the usual limits a file of 50 MB is no document; no browser is started for it."""
    renderer = WebRenderer(executable=needs.chromium())
    with renderer, pytest.raises(RowError) as caught:
        list(renderer.pages(b"<p>words</p>" * (50_000_000 // 12)))
    assert caught.value.kind == "too_large"
    assert renderer._chromium is None


@pytest.mark.parametrize(
    "target", ["/", "#", "?again", "index.html", "http://page.invalid/", "data:text/html,gone"]
)
def test_endless_refreshes_go_nowhere(browser: WebRenderer, tmp_path: Path, target: str) -> None:
    """A page that sends the browser to itself again and again is told once, as it stands."""
    (tmp_path / "index.html").write_text("<p>another</p>")
    refresh = f'<meta http-equiv="refresh" content="0;url={target}">'
    (page,) = _pages(browser, f"{refresh}<p>still here</p>", tmp_path)
    assert page.text == "still here"


def test_a_machine_without_chromium_has_a_remedy() -> None:
    """A browser that is not there is one clear sentence."""
    with pytest.raises(InputError, match="apt-get install chromium"):
        WebRenderer(executable="/nonexistent/chromium")
