# ruff: noqa: E402 - threads are counted before numpy is imported
"""What rendered text costs and how well it can be read: pages, PDF, HTML, and PP-OCR itself.

    python -m benchmarks.synth pages       [--language en] [--setting default] [--n N]
    python -m benchmarks.synth pdf FILE... | html FILE... [--workers 2]
    python -m benchmarks.synth ocr FOLDER

`pages` gives CPU seconds a page and where they go; `pdf` and `html` pages a second of so many processes, CPU
seconds a page (the browsers' included) and where they go; `ocr` reads a folder with `ocr.jsonl` (file, lines of text
and quad). What an OCR reads of pages: benchmarks/legibility.py. SynthDoG took 2.3 CPU seconds an image on
the machine that docs/ocr.md names.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported: BLAS reads it once

import cv2
import numpy as np
from PIL import Image

from benchmarks import rendering
from synth.page import effects, maker, typeset
from synth.page.effects import Warp
from synth.page.maker import Page, PageMaker, PageSettings
from synth.readers import Agreement, Found, RapidReader, agree, quad_of

SYNTHDOG_SECONDS = 2.3
SECONDS = 0.23
"""What a page may cost: a tenth of it."""


def main(arguments: list[str]) -> None:
    """Prints the figures of one part."""
    options = _options(arguments)
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "pages": _pages,
        "pdf": _documents,
        "html": _documents,
        "ocr": _ocr,
    }
    parts[options.part](options)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("pages", "pdf", "html", "ocr"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--language", default="en")
    parser.add_argument("--setting", default="default")
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(arguments)


def _timed(stages: dict[str, float], owner: Any, name: str, label: str) -> None:
    """Lets `owner.name` book its CPU seconds under a label."""
    inner = getattr(owner, name)

    def outer(*args: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return inner(*args, **named)
        finally:
            stages[label] += time.process_time() - start

    setattr(owner, name, outer)


def _pages(options: argparse.Namespace) -> None:
    """CPU seconds a page of the settings given, against SynthDoG's; what the pages are; where the time goes."""
    pages = PageMaker(PageSettings(options.seed, options.language, options.setting))
    for index in range(3):
        pages.page(options.n + index)
    spent, made = [], []
    for index in range(options.n):
        start = time.process_time()
        made.append(pages.page(index))
        spent.append(time.process_time() - start)
    seconds = sum(spent) / options.n
    verdict = "reached" if seconds <= SECONDS else "MISSED"
    print(
        f"{options.n} pages {options.language} {options.setting}: {seconds:.3f} CPU s a page (median "
        f"{sorted(spent)[options.n // 2]:.3f}, most {max(spent):.3f}), {SYNTHDOG_SECONDS / seconds:.1f} x SynthDoG; "
        f"at most {SECONDS}: {verdict}"
    )
    _described(made)
    _stages(pages, options.n)


def _described(made: list[Page]) -> None:
    """The pages' sizes, and how many have each effect."""
    count = len(made)
    areas = [page.width * page.height / 1e6 for page in made]
    shorter = [min(page.width, page.height) for page in made]
    print(
        f"  {sum(areas) / count:.2f} megapixels ({min(areas):.2f} to {max(areas):.2f}; shorter side {min(shorter)} to "
        f"{max(shorter)}), {sum(len(page.lines) for page in made) / count:.0f} lines and "
        f"{sum(len(page.text) for page in made) / count:.0f} characters a page"
    )
    shown: Counter[str] = Counter()
    for page in made:
        drawn = page.parameters["drawn"]
        strengths: dict[str, Any] = drawn["effects"]
        (left, top), (right, first), (second, bottom), (third, last) = drawn["corners"]
        shown.update(
            {
                "background": (right - left, last - top) != (page.width, page.height),
                "perspective": (left, top, right, bottom) != (third, first, second, last),
                "paper": drawn["paper"][0] > 0,
                "elastic": strengths["elastic"][0] > 0,
                "noise": strengths["noise"][0] > 0.2,
                "tint": strengths["tint"] is not None,
                "shadow": strengths["shadow"][0] > 0 and strengths["shadow"][1] > 0,
                "contrast": strengths["contrast"] != 1 or strengths["brightness"] != 0,
                "motion blur": strengths["motion"] is not None,
                "blur": strengths["blur"] > 0.2,
                "JPEG": True,
            }
        )
    print("  effects: " + ", ".join(f"{name} on {times / count:.0%}" for name, times in shown.items()))


def _stages(pages: PageMaker, count: int) -> None:
    """The share of each stage, by letting its functions book their time; none of them calls another."""
    stages: dict[str, float] = defaultdict(float)
    owners: tuple[tuple[Any, str, str], ...] = (
        (typeset.Setter, "_fit", "text to lines"),
        (typeset.Setter, "_set", "lines to places"),
        (maker, "truth_of", "truth carried onto the page"),
        (effects, "sheet", "paper"),
        (typeset, "ink", "letters drawn"),
        (effects, "noised", "noise"),
        (maker, "elastic_field", "elastic field"),
        (Warp, "maps", "perspective and elastic maps"),
        (cv2, "remap", "pixels moved"),
        (effects, "background", "background"),
        (effects, "apply", "tint, shadow, contrast, blurs"),
        (maker, "encoded", "JPEG"),
    )
    for owner, name, label in owners:
        _timed(stages, owner, name, label)
    start = time.process_time()
    for index in range(count):
        pages.page(index)
    whole = time.process_time() - start
    for label, spent in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"  {spent / whole:6.1%}  {label}")
    print(f"  {1 - sum(stages.values()) / whole:6.1%}  the rest: drawing parameters, blending")


def _pixels(image: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(BytesIO(image)).convert("RGB"))


def _documents(options: argparse.Namespace) -> None:
    rendering.measure(options.part, options.files, options.workers)


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
