"""How fast documents become pages: worker processes of their own, pages a second, and where the time goes.

What `python -m benchmarks.synth pdf|html FILE... [--workers 2]` prints. Each worker is warm (its browser has
shown a page) before the clock starts. CPU seconds are those of the workers, of their browsers and drivers.
"""

import multiprocessing
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from pypdfium2 import PdfPage  # type: ignore[import-untyped]

from schemas.errors import RowError
from synth import pdf, web
from synth.documents import HTML_RULES, PDF_RULES, DocumentPage, judge
from synth.web import WebRenderer

WANTED = {"pdf": 15.0, "html": 4.0}
"""Pages a second on two cores."""
_WARM = b"<p>Some words to begin with</p>"


def measure(kind: str, files: Sequence[Path], workers: int) -> None:
    """Renders the files in so many processes and prints the figures."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(workers + 1)
    # the longest first, so that no worker is left alone with one at the end
    ordered = sorted(files, key=lambda file: -file.stat().st_size)
    with context.Pool(workers, _begin, (kind, ready)) as pool:
        ready.wait()
        start = time.perf_counter()
        found = list(pool.imap_unordered(partial(_one, kind), ordered))
        wall = time.perf_counter() - start
    outcomes: Counter[str] = sum((one for one, *_ in found), Counter())
    stages: dict[str, float] = defaultdict(float)
    for _, spent, *_ in found:
        for name, seconds in spent.items():
            stages[name] += seconds
    pages = outcomes.total()
    cpu = sum(seconds for _, _, seconds, _ in found)
    busy = sum(seconds for *_, seconds in found)
    per_page = cpu / max(pages, 1)
    print(f"{pages} pages of {len(files)} files by {workers} processes: {dict(outcomes)}")
    print(
        f"  {pages / wall:.1f} pages/s ({WANTED[kind]:g} wanted of two cores), load {os.getloadavg()[0]:.1f}"
    )
    print(f"  {per_page:.3f} CPU s a page: {2 / per_page:.1f} pages/s on two cores of one's own")
    for name, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"  {seconds / busy:6.1%}  {name}")
    print(f"  {1 - sum(stages.values()) / busy:6.1%}  the rest")


_stages: dict[str, float] = defaultdict(float)
_browser: list[WebRenderer] = []


def _begin(kind: str, ready: Barrier) -> None:
    """In a worker: have its functions book their time, and start its browser."""
    if kind == "pdf":
        _timed(PdfPage, "render", "pdfium draws")
        _timed(pdf, "characters", "the text layer, character by character")
        _timed(pdf, "lines", "words and lines")
    else:
        from playwright.sync_api import Browser, Page

        _browser.append(WebRenderer())
        _timed(Browser, "new_context", "a context")
        _timed(Page, "goto", "loading and layout")
        _timed(Page, "evaluate", "words and their boxes, in the browser")
        _timed(web, "_shot", "the picture, from the browser")
        _timed(WebRenderer, "_cut", "page, lines, JPEG")
        list(_browser[0].pages(_WARM))
    ready.wait()


def _timed(owner: Any, name: str, label: str) -> None:
    inner = getattr(owner, name)

    def outer(*given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return inner(*given, **named)
        finally:
            _stages[label] += time.perf_counter() - start

    setattr(owner, name, outer)


def _one(kind: str, file: Path) -> tuple[Counter[str], dict[str, float], float, float]:
    """(pages by outcome, seconds by stage, CPU seconds, seconds) of one file."""
    _stages.clear()
    rules = PDF_RULES if kind == "pdf" else HTML_RULES
    outcomes: Counter[str] = Counter()
    wall, cpu = time.perf_counter(), _cpu()
    for page in _shown(pages=_opened(kind, file)):
        if isinstance(page, DocumentPage):
            outcomes[next(iter(judge(page, rules)), "kept")] += 1
        else:
            outcomes[page] += 1
    return outcomes, dict(_stages), _cpu() - cpu, time.perf_counter() - wall


def _opened(kind: str, file: Path) -> Callable[[], Iterator[Any]]:
    data = file.read_bytes()
    if kind == "pdf":
        return partial(pdf.pdf_pages, data)
    return partial(_browser[0].pages, data, file.parent)


def _shown(pages: Callable[[], Iterator[Any]]) -> Iterator[DocumentPage | str]:
    """The pages, and the kinds of what could not be had."""
    try:
        for page in pages():
            yield page if isinstance(page, DocumentPage) else page.kind
    except RowError as error:
        yield error.kind


def _cpu() -> float:
    """CPU seconds so far of this process, and of all below it that run."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    total = 0
    for process, spent in ticks.items():
        above = process
        while above in parents and above != os.getpid():
            above = parents[above]
        total += spent if above == os.getpid() else 0
    return total / os.sysconf("SC_CLK_TCK")
