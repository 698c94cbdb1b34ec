"""Kills builds at random moments, again and again, and holds what they end in against an undisturbed run.

    python -m tests.chaos [--kills 36] [--removals 20] [--seed 1]        what `make chaos` runs

Each round builds one corpus on one engine. At a moment drawn from the seed the driver, with or without
its processes, or one worker's process is ended by SIGKILL; then the same command goes on. Removals are killed
likewise, and held against a build of the same inputs with the list. A moment is a phase and a delay within it, so
that all phases are hit, the short ones too. `make test` kills at fixed moments instead:
tests/pipelines/test_chaos.py, and for removals tests/pipelines/phases/test_removed.py.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.pipelines.building import rows
from tests.pipelines.crawls import (
    build,
    build_inline,
    demo,
    environment,
    funnel,
    litter,
    manifest,
    run_inline,
)

REMOVAL = ("select", "compose", "shard", "card")
"""The phases that do something when rows are removed."""

PHASES = ("measure", "dedup", "score", "select", "compose", "shard", "card")

LONGEST = {"measure": 1.5, "score": 8.0}
"""Seconds into a phase at which the latest kill comes, where 0.4 would not reach its work: a scorer loads first."""

VICTIMS = {"worker": b"pipelines.engines.child", "host": b"ray::Host"}
"""What stands in the command line of the process that a deed kills: a worker's child, or its host on Ray."""

RECIPE = """
languages: [en, zh]
sources: [{{id: web, path: {shards}, columns: img2dataset, max_quarantine: 0.5}}]
clip: {{allow_embedded: true, scorers: {{default: {{model: embedded, batch_size: 8}}}}}}
rules: {{clip: {{keep: 0.9}}}}
shards: {{samples: 20}}
splits: {{val: 0.2}}
"""


@dataclass
class Chaos:
    """One crawl, its undisturbed corpus, and a seeded hand that kills."""

    folder: Path
    seed: int
    hand: random.Random = field(init=False)
    recipe: Path = field(init=False)
    kills: Counter[str] = field(default_factory=Counter)
    fruitless: int = 0

    def __post_init__(self) -> None:
        self.hand = random.Random(self.seed)
        self.recipe = self.folder / "recipe.yaml"

    def prepare(self, n: int, per_shard: int) -> None:
        """Make the crawl, and the corpus that every other must equal."""
        shards = demo(self.folder / "crawl", n, per_shard)
        self.recipe.write_text(RECIPE.format(shards=shards))
        build_inline(self.recipe, "--out", self.folder / "calm")

    def remove(self, name: str, kills: int, *options: str) -> None:
        """Removes rows from a copy of the calm corpus, with so many kills on the way, and compares."""
        corpus = shutil.copytree(self.folder / "calm", self.folder / name)
        keys, listed = self.folder / "keys.txt", self.folder / "listed"
        if not listed.exists():
            kept = sorted(row["key"] for row in rows(corpus, "decisions") if row["decision"] == "kept")
            keys.write_text("\n".join(["key", *kept[::10]]))
            build_inline(self.recipe, "--out", listed, "--removed", keys)
        command = ("remove", corpus, self.recipe, "--keys", keys, *options)
        before = self.kills.total()
        while self.kills.total() < before + kills:
            if (corpus / "manifest.json").exists() and manifest(corpus) == manifest(listed):
                shutil.rmtree(corpus)
                shutil.copytree(self.folder / "calm", corpus)
            self._killed(command, self.hand.choice(REMOVAL), self.hand.choice(["driver", "group"]))
        done = run_inline(*command)
        assert done.returncode == 0, done.stderr
        self.check(corpus, "listed")

    def round(self, name: str, options: Sequence[str], kills: int) -> None:
        """Build one corpus with so many kills on the way, then let it end and compare."""
        corpus = self.folder / name
        for _ in range(kills):
            self._disturbed(corpus, options)
        build(self.recipe, "--out", corpus, *options, limit=900)
        self.check(corpus)

    def check(self, corpus: Path, calm: str = "calm") -> None:
        """AssertionError unless the corpus is what an undisturbed run makes, with nothing left over."""
        assert manifest(corpus) == manifest(self.folder / calm), f"{corpus}: another manifest"
        done = run_inline("verify", corpus)
        assert done.returncode == 0, done.stdout
        assert litter(corpus) == [], litter(corpus)
        counts = funnel(corpus)
        assert counts["rows"] == counts["kept"] + counts["dropped"] + counts["quarantined"], counts

    def _disturbed(self, corpus: Path, options: Sequence[str]) -> None:
        """Start a build, do the deed at the drawn moment; the phase must have begun, or it counts as none."""
        phase = self.hand.choice(PHASES)
        hosts = ["host", "host"] if "ray" in options else []
        deed = self.hand.choice(["driver", "driver", "group", "worker", *hosts])
        self._spoil(corpus, phase)
        process, begun = self._killed(("build", self.recipe, "--out", corpus, *options), phase, deed)
        if begun and deed in VICTIMS:
            assert process.returncode == 0, f"the death of a {deed} that no row is to blame for ended the run"

    def _killed(
        self, command: Sequence[str | Path], phase: str, deed: str
    ) -> "tuple[subprocess.Popen[str], bool]":
        """Starts a command and does the deed at a drawn moment of a phase; says whether that had begun."""
        delay = self.hand.random() ** 2 * LONGEST.get(phase, 0.4)
        process = started(*command)
        assert process.stderr is not None
        begun = False
        for line in process.stderr:
            if line.startswith(f"{phase}: "):
                begun = True
                break
        if begun:
            time.sleep(delay)
            kill(process, deed, self.hand)
            self.kills[f"{deed} in {phase}"] += 1
        else:
            self.fruitless += 1
        # what is left of it says nothing more that anybody wants to know
        process.communicate(timeout=900)
        return process, begun

    def _spoil(self, corpus: Path, phase: str) -> None:
        """Sometimes forget that a phase is done, so that late and early phases are at work equally often."""
        receipts = corpus / "work" / "receipts" / phase
        if receipts.is_dir() and self.hand.random() < 0.8:
            for receipt in sorted(receipts.rglob("*.jsonl")):
                if self.hand.random() < 0.7:
                    receipt.unlink()


def started(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Returns the command at work, the leader of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *map(str, arguments)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def kill(process: "subprocess.Popen[str]", deed: str, hand: random.Random) -> None:
    """SIGKILL to the driver, to its whole group, to one of its isolated workers or to a host of them."""
    # it may have ended meanwhile
    with suppress(ProcessLookupError):
        if deed == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif deed == "driver":
            process.kill()
        elif found := processes_below(process.pid, VICTIMS[deed]):
            os.kill(hand.choice(found), signal.SIGKILL)


def processes_below(pid: int, mark: bytes) -> list[int]:
    """Returns the processes below one that have `mark` in their command line, by number."""
    parents: dict[int, int] = {}
    workers = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        if mark in command:
            workers.append(int(entry.name))
    return sorted(worker for worker in workers if _is_below(worker, pid, parents))


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


def main() -> None:
    """The long form: rounds of kills on every engine, until there were enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=36)
    parser.add_argument("--removals", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    ways = {
        "local": ("--workers", "2"),
        "beam": ("--engine", "beam"),
        "beam_processes": (
            "--engine",
            "beam",
            "--workers",
            "2",
            "--",
            "--direct_running_mode=multi_processing",
        ),
        "ray": ("--engine", "ray", "--workers", "2"),
    }
    with tempfile.TemporaryDirectory(prefix="vlcorpus-chaos-") as folder:
        chaos = Chaos(Path(folder), arguments.seed)
        chaos.prepare(240, 20)
        number = 0
        while chaos.kills.total() < arguments.kills:
            name = list(ways)[number % len(ways)] if number % 2 else "local"
            chaos.round(f"{name}-{number}", ways[name], 4)
            number += 1
            print(f"round {number} on {name}: equal after {chaos.kills.total()} kills", flush=True)
        for number in range(-(-arguments.removals // 4)):
            chaos.remove(f"removal-{number}", 4, "--workers", "2")
            print(f"removal {number}: equal after {4 * (number + 1)} kills", flush=True)
        for deed, count in sorted(chaos.kills.items()):
            print(f"  {deed}: {count}")
        lost_node(chaos)
        print("a node lost in the middle of measure: equal")


def lost_node(chaos: Chaos) -> None:
    """A node of a Ray cluster is removed while it measures; the build ends well and equals the others."""
    from tests.pipelines.engines import clusters

    with clusters.started(nodes=2) as cluster:
        lost = cluster.add_node(**clusters.NODE)
        cluster.wait_for_nodes()
        corpus = chaos.folder / "lost-node"
        options = ("--engine", "ray", "--address", cluster.address)
        process = started("build", chaos.recipe, "--out", corpus, *options)
        signals = corpus / "work" / "signals"
        until = time.monotonic() + 300
        while process.poll() is None and not list(signals.rglob("*.parquet")) and time.monotonic() < until:
            time.sleep(0.05)
        cluster.remove_node(lost, allow_graceful=False)
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors
        chaos.check(corpus)


if __name__ == "__main__":
    main()
