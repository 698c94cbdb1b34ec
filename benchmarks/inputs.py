"""Images of real size with captions, as tars: from VLCORPUS_TEST_DATA where it is there, else made up."""

import io
import json
import os
import random
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from synth.crawl import write_crawl

SCALE = 0.6


def pictures(folder: Path, n: int, per_shard: int, seed: int = 1) -> str:
    """Write `n` images with captions into tars of `per_shard`; says where they are from.

    Real ones are cropped again when they run out, so that none is a duplicate.
    """
    data = os.environ.get("VLCORPUS_TEST_DATA")
    if data and (Path(data) / "pairs" / "pairs.jsonl").exists():
        source = _real(Path(data) / "pairs", random.Random(seed))
        said = "real pictures and captions"
    else:
        source = _made(n, seed)
        said = "pictures of the demo crawl (no real data at hand)"
    sizes = 0
    for first in range(0, n, per_shard):
        with tarfile.open(folder / f"{first // per_shard:05d}.tar", "w") as tar:
            for number in range(first, min(first + per_shard, n)):
                picture, caption = next(source)
                sizes += len(picture)
                _add(tar, f"{number:09d}.jpg", picture)
                _add(tar, f"{number:09d}.txt", caption)
    return f"{n} {said}, {sizes / n / 1024:.0f} KiB on average, in tars of {per_shard}"


def _real(folder: Path, rng: random.Random) -> Iterator[tuple[bytes, bytes]]:
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    first = True
    while True:
        for row in rows:
            body = (folder / row["file"]).read_bytes()
            yield (body if first else _cropped(body, rng)), row["caption"].encode()
        first = False


def _cropped(data: bytes, rng: random.Random) -> bytes:
    """Another part of the image, at the image's own size."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = image.size
    x, y = rng.uniform(0, 1 - SCALE) * width, rng.uniform(0, 1 - SCALE) * height
    part = image.crop((int(x), int(y), int(x + SCALE * width), int(y + SCALE * height))).resize(image.size)
    out = io.BytesIO()
    part.save(out, "JPEG", quality=88)
    return out.getvalue()


def _made(n: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """The demo crawl's whole images, again and again; the crawl itself lies elsewhere, for it is no part of them."""
    pairs = []
    with tempfile.TemporaryDirectory() as crawl:
        write_crawl(Path(crawl), min(n, 500), seed, 500)
        for path in sorted((Path(crawl) / "shards").glob("*.tar")):
            with tarfile.open(path) as tar:
                bodies = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
                for name, file in bodies.items():
                    text = bodies.get(name.removesuffix(".jpg") + ".txt")
                    if name.endswith(".jpg") and file is not None and text is not None:
                        pairs.append((file.read(), text.read()))
    rng = random.Random(seed)
    while True:
        for picture, caption in pairs:
            try:
                yield _cropped(picture, rng), caption
            except OSError:
                continue


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    tar.addfile(info, io.BytesIO(body))
