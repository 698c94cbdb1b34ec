"""The same builds on every engine, in one run: seconds by phase, ratios, and whether the targets are met.

    python -m benchmarks.engines [--demo 2000] [--rows 20000] [--ways local,ray,ray_three_nodes]

Every build is a command of its own, as a user types it, so its seconds hold the start and the end of the engine.
Equal manifests are asserted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.phases.table import PHASES
from synth.crawl import write_crawl

HOUSE = Path(__file__).parent.parent
WAYS = {
    "local": ("--workers", "2"),
    "ray": ("--engine", "ray", "--workers", "2"),
    "ray_three_nodes": ("--engine", "ray"),
    "beam": ("--engine", "beam", "--workers", "2"),
}

LARGER = """
languages: [en, zh]
sources: [{{id: web, path: {shards}, columns: img2dataset, max_quarantine: 0.2}}]
"""
"""The same crawl without CLIP scores, whose time would hide that of the engines."""


@dataclass(frozen=True)
class Run:
    """Seconds of one command, whole and by phase, and the manifest that it wrote."""

    whole: float
    phases: dict[str, float]
    manifest: bytes

    @property
    def shuffles(self) -> float:
        """Seconds of the two phases that shuffle."""
        return self.phases["dedup"] + self.phases["select"]


def build(recipe: Path, out: Path, options: Sequence[str]) -> Run:
    """Runs one build from the command line, in the recipe's folder."""
    command = [sys.executable, "-m", "pipelines", "build", str(recipe), "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    since = time.perf_counter()
    done = subprocess.run(command, cwd=recipe.parent, env=environment, capture_output=True, text=True)
    whole = time.perf_counter() - since
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    log = next((out / "work" / "log").glob("*.jsonl")).read_text().splitlines()
    ends = [event for line in log if (event := json.loads(line))["event"] == "end"]
    return Run(whole, {end["phase"]: end["seconds"] for end in ends}, (out / "manifest.json").read_bytes())


@contextmanager
def three_nodes() -> Iterator[str]:
    """The address of a Ray cluster of three nodes on this machine, with one CPU each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 200 * 1024 * 1024, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(2):
            cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


def compared(title: str, recipe: Path, out: Path, ways: Sequence[str]) -> dict[str, Run]:
    """Builds a recipe on each engine; prints and returns the runs."""
    print(
        f"{title}\n{'':16s} {'whole s':>8s} {'x local':>8s}  " + " ".join(f"{one.name:>8s}" for one in PHASES)
    )
    runs: dict[str, Run] = {}
    for way in ways:
        if way == "ray_three_nodes":
            with three_nodes() as address:
                run = build(recipe, out / way, (*WAYS[way], "--address", address))
        else:
            run = build(recipe, out / way, WAYS[way])
        runs[way] = run
        assert run.manifest == runs[ways[0]].manifest, f"{way} built other bytes than {ways[0]}"
        seconds = " ".join(f"{run.phases.get(one.name, 0):8.1f}" for one in PHASES)
        print(f"{way:16s} {run.whole:8.1f} {run.whole / runs[ways[0]].whole:8.2f}  {seconds}", flush=True)
    return runs


def verdicts(demo: dict[str, Run], larger: dict[str, Run]) -> None:
    """Prints a line for each target that Ray on one node must reach."""
    local, ray = demo["local"], demo["ray"]
    targets = [
        ("demo: seconds over local", ray.whole - local.whole, 15.0),
        ("demo: seconds of dedup and select", ray.shuffles, 5.0),
        ("larger build: times local", larger["ray"].whole / larger["local"].whole, 1.25),
    ]
    for name, found, limit in targets:
        print(f"{'reached' if found <= limit else 'MISSED':8s} {name:36s} {found:6.2f} (at most {limit:g})")


def main() -> None:
    """Prints the tables and the verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=int, default=2000, help="rows of the demo crawl")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the larger build")
    parser.add_argument("--ways", default="local,ray,ray_three_nodes", help=", ".join(WAYS))
    given = parser.parse_args()
    ways = given.ways.split(",")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_crawl(folder / "demo", given.demo, 1)
        recipe = folder / "demo.yaml"
        recipe.write_text((HOUSE / "recipes" / "demo.yaml").read_text())
        write_crawl(folder / "larger", given.rows, 2, per_shard=1000)
        (folder / "larger.yaml").write_text(LARGER.format(shards=folder / "larger" / "shards"))
        print(f"{len(os.sched_getaffinity(0))} cores, load before {os.getloadavg()[0]:.1f}")
        demo = compared(f"the demo, {given.demo:,} rows", recipe, folder / "demo-out", ways)
        larger = compared(f"{given.rows:,} rows", folder / "larger.yaml", folder / "out", ways)
        print(f"load after {os.getloadavg()[0]:.1f}")
    if {"local", "ray"} <= set(ways):
        verdicts(demo, larger)


if __name__ == "__main__":
    main()
