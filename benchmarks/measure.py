"""The measure phase against the floor, and against Data-Juicer where it is installed.

    python -m benchmarks.measure [--images 2000] [--workers N] [--data-juicer-python PYTHON] [--memory]

The floor is what nobody can do without: Pillow decodes, imagehash hashes, fastText tells the language,
over the same bytes in memory, one process a core, one thread each. Measure does all of that and every
other signal, and reads tars and writes Parquet. Data-Juicer runs its equal operators over the same
images, as a whole process and by its operators' own time.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.inputs import pictures
from benchmarks.usage import largest_child
from pipelines.build import Build
from pipelines.engines.local import LocalEngine, default_workers
from pipelines.engines.step import named
from pipelines.layout import Layout
from pipelines.phases.table import phase
from pipelines.progress import Lines
from pipelines.recipe.load import for_inputs
from pipelines.sources import discover, read
from pipelines.sources.columns import Columns
from pipelines.verdicts import Verdicts


def floor_of(paths: list[str]) -> tuple[int, float]:
    """(rows, seconds) of the floor over some tars, read into memory before the clock starts."""
    import fasttext
    import imagehash
    from PIL import Image

    from filters.language import model_of_the_wheel

    model = fasttext.load_model(str(model_of_the_wheel()))
    rows = [
        (row.image or b"", (row.caption or b"").decode().replace("\n", " "))
        for path in paths
        for shard in discover("floor", [path]).shards
        for row in read(shard, Columns())
    ]
    since = time.perf_counter()
    for data, caption in rows:
        image = Image.open(io.BytesIO(data))
        image.load()
        imagehash.phash(image)
        model.predict(caption)
    return len(rows), time.perf_counter() - since


def floor(shards: list[str], workers: int) -> float:
    """Rows per second of the floor, one process a worker, each with its share of the tars."""
    shares = [shards[start::workers] for start in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(floor_of, [share for share in shares if share]))
    return sum(rows / seconds for rows, seconds in found)


def measured(folder: Path, out: Path, workers: int) -> tuple[float, float]:
    """(rows per second, seconds to start): the phase over all tars, workers started and warm."""
    recipe = for_inputs([str(folder)], "webdataset", {"max_quarantine": 1.0})
    engine = LocalEngine(workers)
    layout = Layout(str(out))
    engine.open(layout)
    warm = Build(recipe, Layout(str(out) + "-warm"), engine, Lines(), Verdicts())
    warm.discover()
    first = sorted(warm.shards)[:workers]
    warm.shards = {name: warm.shards[name] for name in first}
    since = time.perf_counter()
    named(phase("measure").run)(warm)
    start = time.perf_counter() - since
    work = Build(recipe, layout, engine, Lines(), Verdicts())
    work.discover()
    since = time.perf_counter()
    named(phase("measure").run)(work)
    seconds = time.perf_counter() - since
    engine.close()
    return sum(receipt["rows"] for receipt in work.results["measure"].values()) / seconds, start


JUICER = """
import json, sys, time
from data_juicer.config import init_configs
from data_juicer.core import DefaultExecutor
since = time.time()
DefaultExecutor(init_configs(["--config", sys.argv[1]])).run()
# its logger has taken standard output
with open("seconds.json", "w") as out:
    json.dump(time.time() - since, out)
"""

OPERATORS: list[dict[str, Any]] = [
    {"clean_html_mapper": {}},
    {"whitespace_normalization_mapper": {}},
    {"text_length_filter": {"min_len": 5, "max_len": 1000}},
    {"special_characters_filter": {}},
    {"language_id_score_filter": {"lang": ["en", "zh"], "min_score": 0.0}},
    {"image_size_filter": {}},
    {"image_shape_filter": {"min_width": 1, "min_height": 1}},
    {"image_aspect_ratio_filter": {"max_ratio": 1000.0}},
    {"image_deduplicator": {"method": "phash"}},
]


def juiced(python: str, shards: list[str], folder: Path, workers: int) -> tuple[float, float] | None:
    """(rows per second of its run, of the whole process), or None where it cannot be imported there."""
    probe = subprocess.run([python, "-c", "import data_juicer"], capture_output=True)
    if probe.returncode:
        return None
    rows = list(unpacked(shards, folder / "pictures"))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    settings = {
        "dataset_path": str(folder / "rows.jsonl"),
        "export_path": str(folder / "out" / "rows.jsonl"),
        "np": workers,
        "process": OPERATORS,
    }
    # JSON is YAML
    (folder / "juicer.yaml").write_text(json.dumps(settings))
    since = time.perf_counter()
    done = subprocess.run(
        [python, "-c", JUICER, str(folder / "juicer.yaml")], capture_output=True, text=True, cwd=folder
    )
    whole = time.perf_counter() - since
    if done.returncode:
        raise SystemExit(f"Data-Juicer failed:\n{done.stderr[-2000:]}")
    run = json.loads((folder / "seconds.json").read_text())
    return len(rows) / run, len(rows) / whole


def unpacked(shards: list[str], folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of tars as Data-Juicer reads them: text, and images as files."""
    folder.mkdir()
    for number, path in enumerate(shards):
        with tarfile.open(path) as tar:
            bodies = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            for name, file in bodies.items():
                text = bodies.get(name.removesuffix(".jpg") + ".txt")
                if name.endswith(".jpg") and file is not None and text is not None:
                    target = folder / f"{number}-{Path(name).name}"
                    target.write_bytes(file.read())
                    yield {"text": f"<__dj__image> {text.read().decode()}", "images": [str(target)]}


def peak(rows: int, shards: int) -> float:
    """Peak MB of the one worker that measures so many shards of so many rows (the same images again)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one").mkdir()
        pictures(folder / "one", rows, rows)
        (folder / "in").mkdir()
        for number in range(shards):
            os.link(next((folder / "one").glob("*.tar")), folder / "in" / f"{number:05d}.tar")
        code = "from benchmarks.measure import measured_alone; measured_alone()"
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder / "in"), str(folder / "out")],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return float(done.stdout.splitlines()[-1])


def measured_alone() -> None:
    """In a process of its own: measure, then print the peak of its largest child."""
    folder, out = sys.argv[1:3]
    measured(Path(folder), Path(out), 1)
    print(largest_child() / 2**20)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--data-juicer-python", help="a Python in which py-data-juicer is installed")
    parser.add_argument("--memory", action="store_true", help="also the peak memory with shards of 10,000")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        said = pictures(folder / "in", given.images, max(given.images // (4 * given.workers), 1))
        shards = sorted(str(path) for path in (folder / "in").glob("*.tar"))
        print(f"{said}; {given.workers} workers; load before {os.getloadavg()[0]:.1f}")
        best_floor = best = start = 0.0
        for number in range(given.rounds):
            # in turn, so that both meet the same other load
            best_floor = max(best_floor, floor(shards, given.workers))
            rate, start = measured(folder / "in", folder / f"out-{number}", given.workers)
            best = max(best, rate)
        print(f"{'floor (decode, phash, fastText in memory)':44s} {best_floor:8.0f} rows/s")
        print(
            f"{'measure (all signals, tar to Parquet)':44s} {best:8.0f} rows/s  {best / best_floor:.2f} of the floor"
        )
        print(f"{'start of the workers and a first shard each':44s} {start:8.1f} s")
        if given.data_juicer_python:
            found = juiced(given.data_juicer_python, shards, folder, given.workers)
            if found is None:
                print("Data-Juicer cannot be imported there")
            else:
                print(
                    f"{'Data-Juicer, its run':44s} {found[0]:8.0f} rows/s  measure is {best / found[0]:.1f} x"
                )
                print(
                    f"{'Data-Juicer, the whole process':44s} {found[1]:8.0f} rows/s  measure is {best / found[1]:.1f} x"
                )
    if given.memory:
        for count in (1, 3):
            print(f"peak of a worker, {count} shards of 10,000 pictures: {peak(10_000, count):.0f} MB")


if __name__ == "__main__":
    main()
