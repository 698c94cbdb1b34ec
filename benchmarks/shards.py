"""Dedup and select of many input shards of one row: CPU time and opened files, a shard.

    python -m benchmarks.shards [--shards 1000 3000 10000] [--workers 0] [--folder DIR]

A line for each number of shards. Without workers the inline engine runs both phases in this process, which counts the
files that are opened; with workers the local engine does, each phase with processes of its own, and the time that these
take to start is in the figures. The signals are those of `benchmarks.dedup`.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from unittest import mock

from benchmarks.dedup import Crawl, Shard, write_shard
from benchmarks.usage import cpu_seconds
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Engine
from pipelines.files import Store
from pipelines.layout import Layout, Name
from pipelines.phases.dedup.driver import DedupPlan, dedup, partitions_for
from pipelines.phases.select.driver import SelectPlan, select
from pipelines.recipe.model import Recipe

DISTANCE = 4
WARM = 10


def write(folder: Path, shards: int) -> tuple[Name, ...]:
    """Writes the signals."""
    values, shown = Crawl(shards, DISTANCE, 1).images(0, shards)
    return tuple(
        write_shard(folder, Shard("made", n, n), values[n : n + 1], shown[n : n + 1], 1)
        for n in range(shards)
    )


def measured(workers: int, layout: Layout, work: Callable[[Engine], object]) -> tuple[float, int]:
    """CPU seconds of a phase, and how many files this process opened."""
    before = cpu_seconds()
    engine = LocalEngine(workers) if workers else InlineEngine()
    engine.open(layout)
    with counting() as opened:
        work(engine)
    engine.close()
    return cpu_seconds() - before, len(opened)


@contextmanager
def counting() -> Iterator[list[str]]:
    """Collects the paths that this process opens meanwhile."""
    opened, plain = [], Store.open

    def noting(store: Store, path: str) -> BinaryIO:
        opened.append(path)
        return plain(store, path)

    with mock.patch.object(Store, "open", noting):
        yield opened


def both(folder: str, shards: int, workers: int) -> dict[str, tuple[float, int]]:
    """Of each phase over so many shards the CPU seconds, and how many files this process opened."""
    layout, names = Layout(folder), write(Path(folder), shards)
    recipe = Recipe.model_validate({"sources": [{"id": "made", "path": "made"}]})
    rows, partitions = dict.fromkeys(names, 1), partitions_for(shards)
    plan = DedupPlan(layout, names, DISTANCE, rows=rows, partitions=partitions)
    phases: dict[str, Callable[[Engine], object]] = {
        "dedup": lambda engine: dedup(engine, plan),
        "select": lambda engine: select(
            engine, SelectPlan(recipe, layout, names, partitions, scored={}, rows=rows)
        ),
    }
    return {name: measured(workers, layout, work) for name, work in phases.items()}


def report(found: dict[str, tuple[float, int]], shards: int, counted: bool) -> None:
    """Prints the line of one number of shards."""
    each = ", ".join(
        f"{name} {seconds / shards * 1e3:.2f} ms" + (f" {opened / shards:.2f} files" if counted else "")
        for name, (seconds, opened) in found.items()
    )
    whole = sum(seconds for seconds, _ in found.values()) / shards * 1e3
    print(f"{shards:>7,} shards: {each}; together {whole:.2f} ms", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", help="where the signals lie while it runs")
    arguments = parser.parse_args()
    # the first run is for the modules that phases load when they need them
    for shards in (WARM, *arguments.shards):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            found = both(folder, shards, arguments.workers)
        if shards > WARM:
            report(found, shards, not arguments.workers)


if __name__ == "__main__":
    main()
