# ruff: noqa: E402 - threads are counted before numpy is imported
"""How much of generated pages PP-OCR reads: the pages of `vlcorpus synth ocr`, none left out.

    python -m benchmarks.legibility [--n 500] [--language en,zh] [--setting mild,default] [--seed 0]
                                    [--log legibility.jsonl] [--report]

Every page read is a line of the log, so that a stopped run goes on where it was; delete the log when the
generator or the fonts change. `--report` prints the table of what the log holds and reads nothing.

read        1 - CER: edits a character over all characters of the truth, texts compared by
            synth/readers.py (NFKC, no white space, one kind of quote and dash)
with extra  the same, and what was read where nothing is known counts as edits too
covered     lines with IoU >= 0.5 with one found line, or with all found lines on their row taken together
joined      the same, where one found line over several known ones of a row counts for each of them too
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported: BLAS reads it once

import cv2
import numpy as np
from PIL import Image

from pipelines.generators.text import page_maker
from pipelines.phases.render import job_of
from pipelines.recipe.load import for_pages
from schemas.row import pair_key
from schemas.sample import Quad
from synth.readers import Found, RapidReader, agree

TARGETS = {("en", "mild"): 0.97, ("en", "default"): 0.9, ("zh", "mild"): 0.95, ("zh", "default"): 0.85}
COVERED = 0.95
WORST = 8

Row = dict[str, Any]
Group = tuple[str, str]


def main(arguments: list[str]) -> None:
    """Reads what the log lacks, then prints the table of all it holds."""
    options = _options(arguments)
    groups = [(one, setting) for one in options.language.split(",") for setting in options.setting.split(",")]
    if not options.report:
        _fill(options.log, groups, options.n, options.seed)
    report([row for row in _rows(options.log) if row["seed"] == options.seed], groups)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=500, help="pages of each language and setting")
    parser.add_argument("--language", default="en,zh")
    parser.add_argument("--setting", default="mild,default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("legibility.jsonl"))
    parser.add_argument("--report", action="store_true")
    return parser.parse_args(arguments)


def _rows(log: Path) -> list[Row]:
    """The log's pages; a last line that a stopped run left unfinished is passed over."""
    lines = log.read_text("utf-8").split("\n") if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _fill(log: Path, groups: Sequence[Group], count: int, seed: int) -> None:
    """Adds the pages that the log lacks, a page of every group in turn, so that any stop leaves a sample."""
    done = {(row["language"], row["setting"], row["seed"], row["index"]) for row in _rows(log)}
    makers = {group: _maker(*group, count, seed) for group in groups}
    reader = RapidReader()
    with log.open("a", encoding="utf-8") as file:
        if file.tell():
            file.write("\n")
        for index in range(count):
            for (language, setting), (maker, source) in makers.items():
                if (language, setting, seed, index) in done:
                    continue
                row = {"language": language, "setting": setting, "seed": seed, "index": index}
                row |= _page(maker, source, index, reader)
                file.write(json.dumps(row, sort_keys=True) + "\n")
                file.flush()


def _maker(language: str, setting: str, count: int, seed: int) -> tuple[Any, str]:
    """The maker that `vlcorpus synth ocr` would use, and the id of its source."""
    extra = {"out": "unused", "languages": [language], "seed": seed}
    recipe = for_pages(extra, {"count": count, "setting": setting})
    (source,) = recipe.sources
    return page_maker(job_of(recipe, source), language), source.id


def _page(maker: Any, source: str, index: int, reader: RapidReader) -> Row:
    """What making and reading one page gave."""
    start = time.process_time()
    page = maker.page(index)
    made = time.process_time()
    found = reader.read(np.asarray(Image.open(BytesIO(page.image)).convert("RGB")))
    read = time.process_time()
    truth = [(line.text, line.quad) for line in page.lines]
    whole = agree(truth, found)
    return {
        "key": pair_key(source, None, hashlib.sha256(page.image).hexdigest(), None),
        "pixels": page.width * page.height,
        "characters": whole.characters,
        "errors": whole.errors,
        "extra": whole.extra,
        "lines": whole.lines,
        "covered": sum(covered([quad for _, quad in truth], found)),
        "joined": whole.covered,
        "make_seconds": round(made - start, 4),
        "read_seconds": round(read - made, 4),
    }


def covered(truth: Sequence[Quad], found: Sequence[Found]) -> Iterator[bool]:
    """For each known line: IoU >= 0.5 with one found line, or with all that lie on its row together.

    On its row is what has more than half of its own area within the line.
    """
    seen = [np.array(one.quad, np.float32) for one in found]
    for quad in truth:
        own = np.array(quad, np.float32)
        shared = [_shared(own, other) for other in seen]
        areas = [float(cv2.contourArea(other)) for other in seen]
        area = float(cv2.contourArea(own))
        single = max((s / (area + a - s) for s, a in zip(shared, areas, strict=True)), default=0.0)
        row = [(s, a) for s, a in zip(shared, areas, strict=True) if s > 0.5 * a]
        inside, all_of_them = sum(s for s, _ in row), sum(a for _, a in row)
        yield max(single, inside / max(area + all_of_them - inside, 1e-9)) >= 0.5


def _shared(first: Any, second: Any) -> float:
    """The area that two quads share, in square pixels."""
    apart = (first.max(0) <= second.min(0)).any() or (second.max(0) <= first.min(0)).any()
    return (
        0.0 if apart else float(cv2.intersectConvexConvex(cv2.convexHull(first), cv2.convexHull(second))[0])
    )


def report(rows: Sequence[Row], groups: Sequence[Group]) -> None:
    """Prints a line a group, and its worst pages."""
    print(
        "language setting  pages characters    read  with extra   lines  covered  joined  make s  read s  target"
    )
    for group in groups:
        own = [row for row in rows if (row["language"], row["setting"]) == group]
        if not own:
            continue
        names = (
            "characters",
            "errors",
            "extra",
            "lines",
            "covered",
            "joined",
            "make_seconds",
            "read_seconds",
        )
        total = {name: sum(row[name] for row in own) for name in names}
        read, strict = (
            1 - edits / max(total["characters"], 1)
            for edits in (total["errors"], total["errors"] + total["extra"])
        )
        share = total["covered"] / max(total["lines"], 1)
        reached = read >= TARGETS.get(group, 0.0) and share >= COVERED
        print(
            f"{group[0]:<8} {group[1]:<8} {len(own):>5} {total['characters']:>10} {read:>8.2%} {strict:>10.2%} "
            f"{total['lines']:>8} {share:>8.2%} {total['joined'] / max(total['lines'], 1):>7.2%} "
            f"{total['make_seconds'] / len(own):>7.3f} {total['read_seconds'] / len(own):>7.2f}  "
            f"{'reached' if reached else 'MISSED'}"
        )
    for group in groups:
        own = [row for row in rows if (row["language"], row["setting"]) == group]
        own.sort(key=lambda row: -(row["errors"] + row["extra"] + row["lines"] - row["covered"]))
        print(f"worst of {group[0]} {group[1]}:")
        for row in own[:WORST]:
            print(
                f"  {row['key']} (page {row['index']}): {row['errors']} edits in {row['characters']}, "
                f"{row['extra']} extra, {row['lines'] - row['covered']} of {row['lines']} lines not covered"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
