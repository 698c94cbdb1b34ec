"""One Parquet file much larger than the others: seconds and the largest process of each phase of its build.

python -m benchmarks.giant [--rows 1000000] [--small 200] [--phases measure,dedup,select,compose,shard,card]
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_WORDS = """
river house green market walking children evening light mountain train window table flowers street garden bridge station
yellow coffee morning old woman stands near under bright sky with red boats
"""
WORDS = _WORDS.split()
GROUP = 10_000
RECIPE = "languages: [en]\nsources: [{{id: web, kind: text, path: {path}}}]\n"


def captions(first: int, count: int) -> list[str]:
    """Captions of numbered rows, none like another."""
    rngs = ((number, random.Random(number)) for number in range(first, first + count))
    return [f"the photo shows {' '.join(rng.choices(WORDS, k=10))} number {number}" for number, rng in rngs]


def write(path: Path, first: int, count: int) -> None:
    """Writes a file of so many rows, in row groups of GROUP."""
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())])) as writer:
        for at in range(first, first + count, GROUP):
            rows = captions(at, min(GROUP, first + count - at))
            writer.write_table(pa.table({"text": rows}))


def main() -> None:
    """Prints a line a phase."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large file")
    parser.add_argument("--small", type=int, default=200, help="files of 100 rows beside it")
    parser.add_argument("--phases", default="measure,dedup,select,compose,shard,card")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "web").mkdir()
        write(folder / "web" / "giant.parquet", 0, given.rows)
        for number in range(given.small):
            write(folder / "web" / f"small-{number:04d}.parquet", given.rows + 100 * number, 100)
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE.format(path=folder / "web"))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        for phase in given.phases.split(","):
            command = [phase, str(recipe), "--out", str(folder / "out"), "--workers", "2"]
            subprocess.run([sys.executable, "-m", "benchmarks.usage", *command], env=environment, check=True)


if __name__ == "__main__":
    main()
