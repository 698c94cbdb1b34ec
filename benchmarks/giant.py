"""One file much larger than the others: seconds and the largest process of each phase of its build.

    python -m benchmarks.giant [--rows 1000000] [--small 200] [--phases measure,dedup,select,compose,shard,card]
    python -m benchmarks.giant --form images --rows 100000 --small 0 --phases measure,dedup,select
    python -m benchmarks.giant --form jsonl --rows 400000 --small 0

Images have 8 pixels, so that none is kept. JSON lines are not read in parts, as Parquet is.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_WORDS = """
river house green market walking children evening light mountain train window table flowers street garden bridge station
yellow coffee morning old woman stands near under bright sky with red boats
"""
WORDS = _WORDS.split()
GROUP = 10_000
RECIPE = "languages: [en]\nsources: [{{id: web, kind: {kind}, path: {path}}}]\n"
KINDS = {"text": "text", "images": "parquet", "jsonl": "text"}


def captions(first: int, count: int) -> list[str]:
    """Captions of numbered rows, none like another."""
    rngs = ((number, random.Random(number)) for number in range(first, first + count))
    return [f"the photo shows {' '.join(rng.choices(WORDS, k=10))} number {number}" for number, rng in rngs]


def image(number: int) -> bytes:
    """Returns an image of 8 pixels, unlike those of other numbers."""
    with BytesIO() as file:
        Image.frombytes("RGB", (4, 2), number.to_bytes(24, "big")).save(file, "PNG")
        return file.getvalue()


def table(form: str, first: int, count: int) -> pa.Table:
    """Returns numbered rows."""
    texts = captions(first, count)
    if form != "images":
        return pa.table({"text": texts})
    return pa.table({"image": [image(number) for number in range(first, first + count)], "caption": texts})


def write(path: Path, form: str, first: int, count: int) -> None:
    """Writes a file of so many rows: lines of JSON, or Parquet in row groups of GROUP."""
    groups = (table(form, at, min(GROUP, first + count - at)) for at in range(first, first + count, GROUP))
    if form == "jsonl":
        with path.with_suffix(".jsonl").open("w") as file:
            file.writelines(f"{json.dumps(row)}\n" for group in groups for row in group.to_pylist())
        return
    with pq.ParquetWriter(path.with_suffix(".parquet"), table(form, 0, 1).schema) as writer:
        for group in groups:
            writer.write_table(group)


def main() -> None:
    """Prints a line a phase."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--form", default="text", choices=KINDS, help="text or images in Parquet, or JSON lines"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large file")
    parser.add_argument("--small", type=int, default=200, help="files of 100 rows beside it")
    parser.add_argument("--phases", default="measure,dedup,select,compose,shard,card")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "web").mkdir()
        write(folder / "web" / "giant", given.form, 0, given.rows)
        for number in range(given.small):
            write(folder / "web" / f"small-{number:04d}", given.form, given.rows + 100 * number, 100)
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE.format(kind=KINDS[given.form], path=folder / "web"))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        for phase in given.phases.split(","):
            command = [phase, str(recipe), "--out", str(folder / "out"), "--workers", "2"]
            subprocess.run([sys.executable, "-m", "benchmarks.usage", *command], env=environment, check=True)


if __name__ == "__main__":
    main()
