"""Small raw sources for builds: pictures that no rule minds, with captions."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COLOURS = ("red", "green", "blue", "yellow", "white", "black", "orange", "purple")


def picture(number: int, size: tuple[int, int] = (256, 224), quality: int = 90) -> bytes:
    """A JPEG that looks like no other number's."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (8, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=quality)
    return out.getvalue()


def caption(number: int) -> str:
    """An English caption that differs by number."""
    return f"A photograph of {number + 2} {COLOURS[number % 8]} flowers in the garden of an old house"


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a member."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def shard(path: Path, numbers: range, captions: dict[int, str] | None = None) -> Path:
    """A WebDataset tar of the numbered pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            key = f"{number:09d}"
            said = (captions or {}).get(number, caption(number))
            add(tar, f"{key}.jpg", picture(number))
            add(tar, f"{key}.txt", said.encode())
            add(tar, f"{key}.json", json.dumps({"url": f"https://example.org/{number}"}).encode())
    return path


def scored(path: Path, scores: list[float | None], captions: list[str] | None = None) -> Path:
    """A Parquet source whose rows have a score of their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = captions or [caption(number) for number in range(len(scores))]
    rows = [
        {
            "image": picture(number),
            "TEXT": said[number],
            "URL": f"https://x.org/{number}",
            "similarity": score,
        }
        for number, score in enumerate(scores)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


OFF = {"exact": False, "pixels": False, "phash": False}
"""Rules that see likeness; without them nothing but the clip rule drops one of these rows."""


def tied(folder: Path, name: str, counts: tuple[int, ...], first: int) -> dict[str, Any]:
    """A source of shards of so many rows, every third Chinese, whose scores fall on few values: most are ties."""
    for shard, count in enumerate(counts):
        values: list[float | None] = [((first + 7 * row) % 5) / 10 + 0.1 for row in range(count)]
        scored(folder / name / f"{shard}.parquet", values, [_flowers(first + row) for row in range(count)])
        first += count
    return {"id": name, "path": str(folder / name), "columns": "laion", "clip_score": "similarity"}


def _flowers(number: int) -> str:
    if number % 3 == 0:
        return f"花园里有{'一二三四五六七八九十'[number // 3 % 10]}朵红色的花和一棵树还有小鸟{number}"
    return f"A photograph of {number + 2} red flowers in the garden of an old house"
