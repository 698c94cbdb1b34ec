"""HTML as a browser shows it: the pages of a document with their visible text, by the system's Chromium.

A document is untrusted. Its scripts do not run; every request it makes is answered here, from the files
of its own folder or not at all, so neither the network nor another file can be reached; its origin is a
name that resolves to nothing. A browser serves many documents and is replaced when it dies or grows. A long document
is cut into pages.
"""

import base64
import math
import mimetypes
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import InputError, RowError
from synth.chromium import Chromium, Driver, find
from synth.documents import DocumentPage, PageFailure, as_drawn, is_flat
from synth.page import fonts
from synth.regions import TextLine, TextWord

_GAP: Final = 1.2
_CROSSED: Final = 0.1
_UPRIGHT: Final = "\u2e80"
"""From this character on, those that stand upright in columns: Han, kana, Hangul."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A word in the viewport: its text, its box, its block, and whether white space stands before it.

    `down`: it is part of a column, whose text runs downwards.
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    block: int
    space: bool
    down: bool = False

    @property
    def along(self) -> tuple[float, float]:
        """Returns where the word begins and ends along its line."""
        return (self.top, self.bottom) if self.down else (self.left, self.right)

    @property
    def across(self) -> tuple[float, float]:
        """Returns the sides of its line, the lesser first."""
        return (self.left, self.right) if self.down else (self.top, self.bottom)


def spots(words: Sequence[Any]) -> list[Spot]:
    """The words as web.js gives them."""
    return [
        Spot(str(text), x, y, x + width, y + height, int(block), bool(space), bool(down))
        for text, (x, y, width, height), block, space, down in words
    ]


def breaks(words: Sequence[Spot], above: int, below: int, *, last: bool) -> int:
    """The lowest place in (above, below] for a cut that parts no word; `below` if that is the end.

    Where words lie so thick that no cut is clean in the lower half, the page is cut at `below`.
    """
    if last:
        return below
    cut = below
    for word in sorted(words, key=lambda word: -word.bottom):
        if word.top < cut < word.bottom:
            cut = math.floor(word.top)
    return cut if cut > above + (below - above) // 2 else below


def lines(
    words: Sequence[Spot], above: int, grey: NDArray[np.uint8], drawable: Callable[[str], bool]
) -> tuple[list[TextLine], Counter[str]]:
    """The lines of a page that begins at `above` in the viewport, and how many words it lacks and why.

    `grey` is the page, `drawable` says whether a font has a character. A word is left out that crosses the
    page's edge, of which it shows nothing, or boxes only, or that lies on another.
    """
    height, width = grey.shape
    left_out: Counter[str] = Counter()
    shown: list[Spot] = []
    for word in words:
        if word.bottom <= above or word.top >= above + height:
            continue
        if not as_drawn(word.text):
            continue
        if word.top < above or word.bottom > above + height or word.right > width:
            left_out["outside"] += 1
        elif is_flat(grey, (word.left, word.top - above, word.right, word.bottom - above)):
            left_out["invisible"] += 1
        else:
            shown.append(word)
    crossed = _crossed(shown, above, (height, width))
    kept: list[Spot] = []
    for word, lies in zip(shown, crossed, strict=True):
        if lies:
            left_out["overlapping"] += 1
        elif not all(drawable(char) for char in as_drawn(word.text)):
            left_out["without_font"] += 1
        else:
            kept.append(word)
    return [_line(row, above) for row in _rows(kept)], left_out


def _crossed(words: Sequence[Spot], above: int, size: tuple[int, int]) -> list[bool]:
    """Which words have others across their middle; lines that are set tight share their edges only."""
    covers = np.zeros(size, np.uint8)
    cores = []
    for word in words:
        rise, inset = 0.2 * (word.bottom - word.top), 1 + 0.1 * (word.right - word.left)
        inset = min(inset, 3.0)
        top, bottom = round(word.top - above + rise), round(word.bottom - above - rise)
        left, right = max(round(word.left + inset), 0), round(word.right - inset)
        core = covers[top : max(bottom, top + 1), left : max(right, left + 1)]
        np.minimum(core, 1, out=core)
        core += 1
        cores.append(core)
    return [core.size > 0 and float((core > 1).mean()) > _CROSSED for core in cores]


def _rows(words: Sequence[Spot]) -> list[list[Spot]]:
    """Words of one block on one line, with no gap as between columns; blocks in the order of the document."""
    rows: list[list[Spot]] = []
    for word in words:
        if rows and _continues(rows[-1][-1], word):
            rows[-1].append(word)
        else:
            rows.append([word])
    return rows


def _continues(last: Spot, word: Spot) -> bool:
    (start, end), (low, high) = last.across, word.across
    size = max(min(end - start, high - low), 1.0)
    shared = min(end, high) - max(start, low)
    gap = max(word.along[0] - last.along[1], last.along[0] - word.along[1])
    is_one = last.block == word.block and last.down == word.down
    return is_one and shared > 0.5 * size and gap < _GAP * size


def _line(row: Sequence[Spot], above: int) -> TextLine:
    parts: list[list[Spot]] = []
    for word in row:
        if parts and not word.space and abs(word.along[0] - parts[-1][-1].along[1]) < 2:
            parts[-1].append(word)
        else:
            parts.append([word])
    words = tuple(TextWord(as_drawn("".join(one.text for one in part)), _quad(part, above)) for part in parts)
    text = words[0].text
    for part, told in zip(parts[1:], words[1:], strict=True):
        text += (" " if part[0].space else "") + told.text
    return TextLine(text, _quad(row, above), words)


def _quad(
    row: Sequence[Spot], above: int
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]:
    left, right = round(max(min(one.left for one in row), 0), 2), round(max(one.right for one in row), 2)
    top = round(max(min(one.top for one in row) - above, 0), 2)
    bottom = round(max(one.bottom for one in row) - above, 2)
    if row[0].down and row[0].text[0] < _UPRIGHT:  # letters of alphabets lie on their side in a column
        return (right, top), (right, bottom), (left, bottom), (left, top)
    return (left, top), (right, top), (right, bottom), (left, bottom)


_HOST: Final = "page.invalid"
_POLICY: Final = "script-src 'none'; object-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'none'"
_NO_PICTURE: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_SCRIPT: Final = Path(__file__).with_name("web.js").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Sizes of a page in pixels, pages and bytes of a document, processor seconds a document, megabytes a browser."""

    width: int = 1024
    height: int = 1280
    max_pages: int = 50
    max_bytes: int = 10 << 20
    max_asset_bytes: int = 20 << 20
    max_words: int = 20_000
    seconds: float = 60
    megabytes: int = 2000
    quality: int = 90


class WebRenderer:
    """Renders HTML files; a context manager that holds one browser.

    The browser is driven by a thread of its own: playwright refuses a thread that runs an event loop, as a notebook's
    does, and allows one browser a thread. Raises InputError where there is no Chromium, or no playwright to drive it.
    """

    def __init__(self, limits: WebLimits | None = None, executable: str | None = None) -> None:
        self.limits = limits or WebLimits()
        self._executable = find(executable)
        self._drawable = installed()
        self._thread: ThreadPoolExecutor | None = None
        self._driver: Driver | None = None
        self._chromium: Chromium | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the browser and its thread; a document after that starts others."""
        if self._thread is not None:
            self._thread.submit(self._stop).result()
            self._thread.shutdown()
            self._thread = None

    def pages(self, html: bytes, folder: Path | None = None) -> Iterator[DocumentPage | PageFailure]:
        """The pages of `html`, from the top; its images and styles come from `folder`, or not at all.

        Raises RowError for what is empty or too large, and where the browser gives up on it or takes
        longer than `limits.seconds`.
        """
        if not html.strip():
            raise RowError("empty", "the document has no bytes")
        if len(html) > self.limits.max_bytes:
            raise RowError("too_large", f"{len(html)} bytes, more than {self.limits.max_bytes}")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "browser")
        pages = self._thread.submit(self._pages, html, folder)
        try:
            yield from pages.result()
        except KeyboardInterrupt:
            if self._driver is not None:
                self._driver.kill()  # else closing would wait for the document's deadline
            raise

    def _pages(self, html: bytes, folder: Path | None) -> list[DocumentPage | PageFailure]:
        """Returns all pages of a document; runs in the browser's thread."""
        driver, chromium = self._started()
        from playwright.sync_api import Error

        with chromium.deadline(self.limits.seconds, driver.kill) as late:
            try:
                # all of them at once: what is done with a page is not the document's time
                pages = list(self._shown(chromium.browser, html, folder))
            except Error as error:
                self._stop()
                if late.is_set():
                    message = f"the browser took longer than {self.limits.seconds:g} s"
                    raise RowError("deadline", message) from error
                raise RowError("crash", f"the browser gave up: {error.message.splitlines()[0]}") from error
        if not chromium.alive or chromium.megabytes() > self.limits.megabytes:
            self._drop()
        return pages

    def _shown(self, browser: Any, html: bytes, folder: Path | None) -> Iterator[DocumentPage | PageFailure]:
        context = browser.new_context(
            viewport={"width": self.limits.width, "height": self.limits.height},
            java_script_enabled=False,
            service_workers="block",
            accept_downloads=False,
        )
        context.set_default_timeout(0)  # the deadline ends what takes too long
        context.route("**/*", _Answers(html, folder, self.limits.max_asset_bytes))
        page = context.new_page()
        page.goto(f"http://{_HOST}/", wait_until="load")
        yield from self._scrolled(page)
        context.close()

    def _scrolled(self, page: Any) -> Iterator[DocumentPage | PageFailure]:
        limits = self.limits
        session = page.context.new_cdp_session(page)
        top, number, end = 0, 0, 1
        while top < end:
            if number == limits.max_pages:
                message = f"{end} pixels high, more than {number} pages: the rest is left out"
                yield PageFailure(number, "too_large", message)
                return
            told = page.evaluate(_SCRIPT, [top, limits.max_words])
            # a document may grow while it is read: where it ended at first sight is where it ends
            reached, end = int(told["reached"]), end if number else int(told["end"])
            shot = _shot(session)
            words = spots(told["words"])
            # what was shown before the bottom could be scrolled to is cut away from the last page
            above = max(top - reached, 0)
            below = min(limits.height, end - reached)
            below = breaks(words, above, below, last=reached + below >= end)
            yield self._cut(shot, words, (above, below), number, told["left"])
            top, number = reached + below, number + 1

    def _cut(
        self, shot: bytes, words: list[Spot], span: tuple[int, int], number: int, left: int
    ) -> DocumentPage:
        above, below = span
        with Image.open(BytesIO(shot)) as image:
            part = image.convert("RGB").crop((0, above, image.width, below))
        told, left_out = lines(words, above, np.asarray(part.convert("L")), self._drawable)
        left_out["hidden"] = left
        out = BytesIO()
        part.save(out, "JPEG", quality=self.limits.quality)
        return DocumentPage(
            number, out.getvalue(), part.width, part.height, tuple(told), dict(sorted((+left_out).items()))
        )

    def _started(self) -> tuple[Driver, Chromium]:
        if self._driver is not None and self._chromium is not None and self._chromium.alive:
            return self._driver, self._chromium
        self._drop()
        if self._driver is None:
            self._driver = Driver()
        self._chromium = Chromium(self._driver.playwright, self._executable)
        return self._driver, self._chromium

    def _stop(self) -> None:
        self._drop()
        if self._driver is not None:
            self._driver.stop()
            self._driver = None

    def _drop(self) -> None:
        if self._chromium is not None:
            self._chromium.kill()
            self._chromium = None


def installed() -> Callable[[str], bool]:
    """Whether some font of the system has a character; where none is found, as if they had all.

    In place of what no font has a browser draws a box. A font that a page brings along is not asked.
    """
    try:
        faces = fonts.find().faces
    except InputError:
        return lambda char: True

    @cache
    def drawable(char: str) -> bool:
        return any(face.share((char,)) for face in faces)

    return drawable


def _shot(session: Any) -> bytes:
    """The viewport as PNG, packed quickly; playwright's own way waits for frames that no script asks for."""
    answer = session.send("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": True})
    return base64.b64decode(answer["data"])


def _content_type(html: bytes) -> str:
    """What is UTF-8 is said to be, for without a word a browser takes it for Latin-1; the rest is its guess."""
    try:
        html.decode("utf-8")
    except UnicodeDecodeError:
        return "text/html"
    return "text/html" if b"\x1b" in html else "text/html; charset=utf-8"


class _Answers:
    """Answers a document's requests: itself first, then files of its folder, and nothing else."""

    def __init__(self, html: bytes, folder: Path | None, max_bytes: int) -> None:
        self._html = html
        self._folder = folder.resolve() if folder else None
        self._max_bytes = max_bytes
        self._begun = False

    def __call__(self, route: Any) -> None:
        request = route.request
        if request.is_navigation_request():
            # the first is ours; any other is a frame, a refresh or a redirect
            if self._begun:
                # to give them up would show the browser's own page of errors instead of the document
                route.fulfill(status=204)
                return
            self._begun = True
            headers = {"Content-Security-Policy": _POLICY}
            route.fulfill(body=self._html, content_type=_content_type(self._html), headers=headers)
            return
        try:
            file = self._file(request.url)
            body = file.read_bytes() if file else None
        except (OSError, ValueError):  # a name too long, a folder without leave, half an address
            file = body = None
        if file is None or body is None:
            self._refuse(route)
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        route.fulfill(body=body, content_type=kind)

    @staticmethod
    def _refuse(route: Any) -> None:
        """An image that is not there is an empty one, lest the browser write its name in its place."""
        if route.request.resource_type == "image":
            route.fulfill(body=_NO_PICTURE, content_type="image/gif")
        else:
            route.abort()

    def _file(self, url: str) -> Path | None:
        """The file that `url` names, if it lies in the folder and is no larger than allowed."""
        parts = urlsplit(url)
        if self._folder is None or parts.hostname != _HOST:
            return None
        relative = PurePosixPath(unquote(parts.path).lstrip("/"))
        if ".." in relative.parts or "\x00" in str(relative):
            return None
        file = (self._folder / relative).resolve()
        fit = file.is_relative_to(self._folder) and file.is_file()
        return file if fit and file.stat().st_size <= self._max_bytes else None
