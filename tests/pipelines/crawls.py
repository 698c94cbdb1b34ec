"""Raw shards to build from, and builds of them as a user starts them."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq

from pipelines.cli import main
from pipelines.engines.isolation import child_environment
from pipelines.engines.step import Step
from synth.crawl import write_crawl

BUILDS = ("build", "measure", "dedup", "score", "select", "compose", "shard", "card")
"""Commands that run phases, and so take an engine."""

POISON = Path(__file__).parent / "poison"
"""A folder with a sitecustomize.py, which Python runs at every start where it is on PYTHONPATH."""


def demo(folder: Path, n: int, per_shard: int, seed: int = 1) -> Path:
    """The shards of a demo crawl."""
    write_crawl(folder, n, seed, per_shard, workers=1)
    return folder / "shards"


def real(folder: Path, test_data: Path, lines: int, *options: str) -> Path | None:
    """Shards with planted defects made of the first lines of the real pairs, where the tool that makes them is."""
    tool = test_data.parent / "tools" / "make_crawl.py"
    if not tool.exists():
        return None
    whole = test_data / "pairs" / "pairs.jsonl"
    chosen = [json.loads(line) for line in whole.read_text("utf-8").splitlines()[:lines]]
    pairs = folder.with_suffix(".jsonl")
    pairs.write_text(
        "".join(json.dumps({**one, "file": str(whole.parent / one["file"])}) + "\n" for one in chosen)
    )
    command = [sys.executable, str(tool), str(pairs), str(folder), *options]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def environment(poisoned: bool = False) -> dict[str, str]:
    """For a subprocess: this one's, and the poison where asked for."""
    found = child_environment(Step("build", ""))
    found["RAY_USAGE_STATS_ENABLED"] = "0"
    if poisoned:
        found["PYTHONPATH"] = os.pathsep.join([str(POISON), found["PYTHONPATH"]])
    return found


def vlcorpus(
    *arguments: str | Path, cwd: Path | None = None, poisoned: bool = False, limit: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "pipelines", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment(poisoned), timeout=limit
    )


def build(*arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """`vlcorpus build`, which has to end well."""
    done = vlcorpus("build", *arguments, **more)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def run_inline(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the command in this process, phases on the inline engine; an unforeseen exception is raised."""
    out, errors = io.StringIO(), io.StringIO()
    command = ["vlcorpus", *map(str, arguments)]
    if arguments[0] in BUILDS and "--engine" not in arguments:
        command[2:2] = ["--engine", "inline"]
    code: Any = 0
    with redirect_stdout(out), redirect_stderr(errors), mock.patch.object(sys, "argv", command):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(command, code, out.getvalue(), errors.getvalue())


def build_inline(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`vlcorpus build` in this process, which has to end well."""
    done = run_inline("build", *arguments)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def manifest(corpus: Path) -> bytes:
    """The manifest as it lies there."""
    return (corpus / "manifest.json").read_bytes()


def funnel(corpus: Path) -> dict[str, Any]:
    """The funnel, summed over the sources by name of the count."""
    funnels = json.loads(manifest(corpus))["funnel"].values()
    return {name: sum(one[name] for one in funnels) for name in ("rows", "kept", "dropped", "quarantined")}


def decisions(corpus: Path) -> list[dict[str, Any]]:
    """Every decision, in the order of files and rows."""
    files = sorted((corpus / "work" / "decisions").rglob("*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def ran(corpus: Path) -> dict[str, int]:
    """How many tasks of each phase the newest run did, by its log."""
    logs = [file.read_text().splitlines() for file in (corpus / "work" / "log").glob("*.jsonl")]
    events = [json.loads(line) for line in max(logs, key=lambda lines: str(json.loads(lines[0])["time"]))]
    return {event["phase"]: event["ran"] for event in events if event["event"] == "end"}


def litter(corpus: Path) -> list[str]:
    """What a run that ended well must not leave: temporary names, and strange files below work."""
    found = []
    for path in corpus.rglob("*"):
        name = path.relative_to(corpus).as_posix()
        parts = name.split("/")
        temporary = any(".tmp" in part or part.startswith(".") for part in parts)
        if temporary or name.startswith(("work/tmp", "work/exchange")):
            found.append(name)
        if parts[0] == "work" and len(parts) > 1 and path.is_file():
            tables = parts[1] in ("signals", "scores", "clusters", "decisions", "samples")
            if tables and path.suffix != ".parquet":
                found.append(name)
    return found
