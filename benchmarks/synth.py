# ruff: noqa: E402 - threads are counted before numpy is imported
"""What rendered text costs and how well it can be read: pages, PDF, HTML, and PP-OCR itself.

    python -m benchmarks.synth pages       [--language en] [--setting default] [--n N]
    python -m benchmarks.synth legibility  [--language en] [--setting default] [--n N] [--seed S]
    python -m benchmarks.synth pdf FILE... | html FILE... [--read-back] | ocr FOLDER

`pages` gives CPU seconds a page and where they go; `pdf` and `html` pages a second of one process and
CPU seconds a page (its browser's included); `ocr` reads a folder with `ocr.jsonl` (file, lines of text
and quad). SynthDoG took 2.3 CPU seconds a picture on the machine that docs/ocr.md names.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported: BLAS reads it once

import numpy as np
from PIL import Image

from schemas.errors import RowError
from synth.documents import HTML_RULES, DocumentPage, DocumentRules, PageFailure, judge
from synth.page import effects, maker, paper, typeset
from synth.page.geometry import Warp
from synth.page.maker import PageMaker, PageSettings
from synth.pdf import pdf_pages
from synth.readback import Agreement, Found, RapidReader, agree, can_read, quad_of
from synth.web import WebRenderer

SYNTHDOG_SECONDS = 2.3


def main(arguments: list[str]) -> None:
    """Prints the figures of one part."""
    options = _options(arguments)
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "pages": _pages,
        "legibility": _legibility,
        "pdf": _documents,
        "html": _documents,
        "ocr": _ocr,
    }
    parts[options.part](options)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("pages", "legibility", "pdf", "html", "ocr"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--language", default="en")
    parser.add_argument("--setting", default="default")
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--read-back", action="store_true")
    return parser.parse_args(arguments)


def _cpu() -> float:
    """CPU seconds of this process and of its children that ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def _timed(stages: dict[str, float], owner: Any, name: str) -> None:
    """Lets `owner.name` book its CPU seconds under its name."""
    inner = getattr(owner, name)

    def outer(*args: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return inner(*args, **named)
        finally:
            stages[name] += time.process_time() - start

    setattr(owner, name, outer)


def _pages(options: argparse.Namespace) -> None:
    pages = PageMaker(PageSettings(options.seed, options.language, options.setting))
    for index in range(3):
        pages.page(options.n + index)
    start = time.process_time()
    made = [pages.page(index) for index in range(options.n)]
    seconds = (time.process_time() - start) / options.n
    pixels = sum(page.width * page.height for page in made) / options.n / 1e6
    lines = sum(len(page.lines) for page in made) / options.n
    letters = sum(len(page.text) for page in made) / options.n
    print(f"{options.n} pages {options.language} {options.setting}: {seconds:.3f} CPU s a page", end="")
    print(f" ({SYNTHDOG_SECONDS / seconds:.1f} x SynthDoG), {pixels:.2f} megapixels, ", end="")
    print(f"{lines:.0f} lines, {letters:.0f} characters a page")
    stages: dict[str, float] = defaultdict(float)
    owners: tuple[tuple[Any, str], ...] = (
        (paper, "sheet"),
        (paper, "background"),
        (typeset, "ink"),
        (effects, "noised"),
        (effects, "apply"),
        (Warp, "maps"),
        (maker, "elastic_field"),
        (maker, "encoded"),
        (typeset.Setter, "_fit"),
        (typeset.Setter, "_set"),
    )
    for owner, name in owners:
        _timed(stages, owner, name)
    start = time.process_time()
    for index in range(options.n):
        pages.page(index)
    whole = time.process_time() - start
    for name, spent in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"  {spent / whole:6.1%}  {name}")
    print(f"  {1 - sum(stages.values()) / whole:6.1%}  the rest: remapping, truth")


def _legibility(options: argparse.Namespace) -> None:
    pages = PageMaker(PageSettings(options.seed, options.language, options.setting))
    reader = RapidReader()
    total = Agreement()
    for index in range(options.n):
        page = pages.page(index)
        found = reader.read(_pixels(page.image))
        total += agree([(line.text, line.quad) for line in page.lines], found)
    read, covered = 1 - total.error_rate, total.covered / max(total.lines, 1)
    print(f"{options.n} pages {options.language} {options.setting}, seed {options.seed}: ", end="")
    print(f"{read:.2%} of {total.characters} characters read, {covered:.2%} of {total.lines} lines covered")


def _pixels(image: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(BytesIO(image)).convert("RGB"))


def _documents(options: argparse.Namespace) -> None:
    rules = DocumentRules() if options.part == "pdf" else DocumentRules(HTML_RULES)
    outcomes: Counter[str] = Counter()
    reader = RapidReader() if options.read_back else None
    rates = []
    wall, cpu = time.perf_counter(), _cpu()
    for name, page in _shown(options):
        if not isinstance(page, DocumentPage):
            outcomes[page.kind] += 1
            print(f"  {name}: {page.kind}, {page.message}")
            continue
        failed = judge(page, rules)
        outcomes[failed[0] if failed else "kept"] += 1
        if failed:
            print(f"  {name} page {page.number}: {', '.join(failed)} ({len(page.text)} characters)")
        elif reader is not None and can_read(reader, page.text):
            lines = [(line.text, line.quad) for line in page.lines]
            rates.append((agree(lines, reader.read(_pixels(page.image))).error_rate, name, page.number))
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    pages = sum(outcomes.values())
    print(f"{pages} pages: {dict(outcomes)}")
    if not rates:
        print(f"{pages / wall:.1f} pages/s in one process, {cpu / max(pages, 1):.3f} CPU s a page")
        return
    print(
        f"error rate on {len(rates)} kept pages: mean {sum(rate for rate, *_ in rates) / len(rates):.2%}; worst"
    )
    for rate, name, number in sorted(rates, reverse=True)[:8]:
        print(f"  {rate:7.2%}  {name} page {number}")


def _shown(options: argparse.Namespace) -> Iterator[tuple[str, DocumentPage | PageFailure]]:
    """The pages of all files, each with a short name; a file that cannot be read is a failure of page 0."""
    if options.part == "pdf":
        for file in options.files:
            yield from _named(file.name, partial(pdf_pages, file.read_bytes()))
        return
    with WebRenderer() as browser:
        for file in options.files:
            name = f"{file.parent.name[:40]}/{file.name}"
            yield from _named(name, partial(browser.pages, file.read_bytes(), file.parent))


def _named(
    name: str, pages: Callable[[], Iterator[DocumentPage | PageFailure]]
) -> Iterator[tuple[str, DocumentPage | PageFailure]]:
    try:
        for page in pages():
            yield name, page
    except RowError as error:
        yield name, PageFailure(0, error.kind, error.message)


def _ocr(options: argparse.Namespace) -> None:
    reader = RapidReader()
    sums: dict[str, Agreement] = {}
    boxes: dict[str, Counter[str]] = {}
    for folder in options.files:
        for line in (folder / "ocr.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            with Image.open(folder / row["file"]) as image:
                found = reader.read(np.asarray(image.convert("RGB")))
            lines = [
                (str(one["text"]).casefold(), quad_of(one["quad"]))
                for one in row["lines"]
                if one.get("legible", True) and not str(one.get("category", "")).startswith("latex")
            ]
            found = [Found(one.text.casefold(), one.quad, one.score) for one in found]
            name = f"{row['kind'][:30]} ({row['lang']})"
            sums[name] = sums.get(name, Agreement()) + agree(lines, found)
            boxes.setdefault(name, Counter()).update(pictures=1, found=len(found), lines=len(lines))
    for name, total in sums.items():
        covered = total.covered / max(total.lines, 1)
        print(
            f"{name}: {dict(boxes[name])}, {covered:.1%} of lines covered, "
            f"{1 - total.error_rate:.1%} of {total.characters} characters read, {total.extra} more characters"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
