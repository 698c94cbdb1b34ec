"""What the local engine costs: start-up, overhead, scaling and growth.

python -m benchmarks.local [--rows 2000] [--shards 20] [--growth 1,4,16]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.inputs import pictures
from benchmarks.usage import largest_child, peak
from pipelines.build import Build
from pipelines.engines.isolation import IsolatedWorker
from pipelines.engines.local import LocalEngine, default_workers
from pipelines.engines.step import Engine, Step, named
from pipelines.layout import Layout
from pipelines.phases.measure import Measure
from pipelines.phases.table import PHASES, phase
from pipelines.progress import Lines
from pipelines.recipe.load import for_inputs
from pipelines.recipe.model import Recipe
from pipelines.sources import discover
from pipelines.verdicts import Verdicts


@dataclass(frozen=True)
class Run:
    """Seconds of one build, by phase."""

    rows: int
    seconds: dict[str, float]

    @property
    def whole(self) -> float:
        return sum(self.seconds.values())

    def rate(self, phase: str) -> float:
        """Rows per second of a phase."""
        return self.rows / self.seconds[phase]


def build(recipe: Recipe, out: Path, engine: Engine) -> Run:
    """Build once, phase by phase."""
    layout = Layout(str(out))
    engine.open(layout)
    work = Build(recipe, layout, engine, Lines(), Verdicts())
    work.discover()
    seconds = {}
    for one in PHASES:
        since = time.perf_counter()
        named(one.run)(work)
        seconds[one.name] = time.perf_counter() - since
    return Run(sum(receipt["rows"] for receipt in work.results["measure"].values()), seconds)


def scaling(recipe: Recipe, folder: Path) -> None:
    """Measure and the whole run with one worker and with two."""
    runs = {}
    for workers in (1, 2):
        engine = LocalEngine(workers)
        runs[workers] = build(recipe, folder / f"workers-{workers}", engine)
        engine.close()
    one, two = runs[1], runs[2]
    print(f"measure 1 -> 2 workers: {one.seconds['measure'] / two.seconds['measure']:.2f} x", end="")
    print(f" ({one.rate('measure'):.0f} -> {two.rate('measure'):.0f} rows/s)")
    print(f"whole run 1 -> 2 workers: {one.whole / two.whole:.2f} x ({one.whole:.1f} s -> {two.whole:.1f} s)")


def overhead(recipe: Recipe, folder: Path) -> None:
    """The same shards by the worker's code in this process, and by the engine with one worker.

    In turn, shard by shard, so that both meet the same other load of the machine.
    """
    layouts = [Layout(str(folder / name)) for name in ("bare", "engine")]
    record = recipe.to_json()
    setups = [{"recipe": record, "layout": asdict(layout)} for layout in layouts]
    source = recipe.sources[0]
    shards = discover(source.id, source.path, source.kind).shards
    tasks = [{"input": shard.to_json(), "shard": shard.shard, "known": {}} for shard in shards]
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    bare = Measure(setups[0])
    engine = LocalEngine(1)
    engine.open(layouts[1])
    step = Step("measure", phase("measure").worker, setups[1])
    engine.map(step, tasks[:1])
    bare.run(tasks[0], lambda row: None)
    own = other = 0.0
    for task in tasks:
        since = time.perf_counter()
        bare.run(task, lambda row: None)
        own += time.perf_counter() - since
        since = time.perf_counter()
        engine.map(step, [task])
        other += time.perf_counter() - since
    engine.close()
    print(
        f"engine local, 1 worker, {len(tasks)} shards: {100 * (other / own - 1):+.1f} % over the worker's own time"
    )


def growth(folder: Path, rows: int, times: Sequence[int], per_shard: int) -> None:
    """The same build with more and more rows, each in a process of its own for its peaks."""
    print(f"{'rows':>8s} {'seconds':>8s} {'ms/row':>7s} {'driver MB':>10s} {'largest worker MB':>18s}")
    for factor in times:
        place = folder / f"x{factor}"
        place.mkdir()
        pictures(place, rows * factor, per_shard)
        code = "from benchmarks.local import grown; grown()"
        done = subprocess.run(
            [sys.executable, "-c", code, str(place), str(folder / f"out-x{factor}")],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        print(done.stdout.splitlines()[-1])


def grown() -> None:
    """In a process of its own: build and print one line of the table."""
    place, out = sys.argv[1:3]
    engine = LocalEngine(default_workers())
    run = build(for_inputs([place], "webdataset", {"max_quarantine": 1.0}), Path(out), engine)
    engine.close()
    driver = peak() / 2**20
    worker = largest_child() / 2**20
    print(f"{run.rows:8d} {run.whole:8.1f} {1000 * run.whole / run.rows:7.2f} {driver:10.0f} {worker:18.0f}")


def start_up(folder: Path) -> None:
    """Seconds until a worker's child has loaded its filters and done an empty task."""
    (folder / "empty").mkdir()
    (folder / "empty" / "0.jsonl").touch()
    recipe = for_inputs([str(folder / "empty")], "text", {"max_quarantine": 1.0})
    layout = Layout(str(folder / "start"))
    setup = {"recipe": recipe.to_json(), "layout": asdict(layout)}
    worker = IsolatedWorker(Step("measure", phase("measure").worker, setup))
    shard = discover("input", recipe.sources[0].path, "text").shards[0]
    since = time.perf_counter()
    worker.run({"input": shard.to_json(), "shard": shard.shard, "known": {}})
    print(f"a worker's child, from nothing to its first task: {time.perf_counter() - since:.2f} s")
    worker.close()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--growth", default="1,4,16", help="factors of --rows / 4; empty: none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        print(pictures(folder / "in", given.rows, -(-given.rows // given.shards)))
        print(f"{default_workers()} cores, load before {os.getloadavg()[0]:.1f}")
        recipe = for_inputs([str(folder / "in")], "webdataset", {"max_quarantine": 1.0})
        start_up(folder)
        overhead(recipe, folder)
        scaling(recipe, folder)
        factors = [int(one) for one in given.growth.split(",") if one]
        growth(folder, given.rows // 4, factors, max(given.rows // 4 // 5, 1))


if __name__ == "__main__":
    main()
