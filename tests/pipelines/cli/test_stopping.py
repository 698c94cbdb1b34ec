import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.progress import Lines
from tests.pipelines.crawls import demo, environment, litter, run_inline

SENTENCE = "stopped; run the same command again to go on"
PHASES = ("measure", "dedup", "score", "select", "compose", "shard", "card")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Jobs that a shell starts in the background ignore Ctrl-C, and so would these tests and their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that has every phase that a crawl can have."""
    folder = tmp_path_factory.mktemp("stopping")
    sources = [{"id": "web", "path": str(demo(folder / "crawl", 40, 10))}]
    clip = {"allow_embedded": True, "scorers": {"default": {"model": "embedded"}}}
    (folder / "recipe.yaml").write_text(json.dumps({"sources": sources, "clip": clip}))
    return folder / "recipe.yaml"


def interrupted_at(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has Ctrl-C come as soon as a phase begins."""
    begin = Lines.begin

    def and_stop(self: Lines, name: str, tasks: int, done: int) -> None:
        begin(self, name, tasks, done)
        if name == phase:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Lines, "begin", and_stop)


def last_event(out: Path) -> dict[str, Any]:
    newest = max((out / "work/log").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return dict(json.loads(newest.read_text().splitlines()[-1]))


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_ctrl_c_in_each_phase(
    recipe: Path, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in whatever phase says what to do next, exits 130, stands in the log, and leaves nothing temporary."""
    out = tmp_path / "out"
    options = ("build", recipe, "--out", out, "--engine", engine)
    for phase in PHASES if engine == "inline" else ("measure", "dedup", "select"):
        with monkeypatch.context() as patched:
            interrupted_at(phase, patched)
            done = run_inline(*options, *(("--workers", "2") if engine == "local" else ()))
        assert (done.returncode, done.stderr.splitlines()[-1]) == (130, SENTENCE), phase
        event = last_event(out)
        assert (event["event"], event["phase"]) == ("failed", phase)
        assert event["message"].startswith("stopped by Ctrl-C")
        assert litter(out) == []
    assert run_inline(*options).returncode == 0


@pytest.mark.parametrize("engine", ["beam", pytest.param("ray", marks=pytest.mark.xdist_group("ray"))])
def test_ctrl_c_on_a_cluster(recipe: Path, engine: str, tmp_path: Path) -> None:
    """A Ctrl-C at the terminal, which every process of the job gets, ends Beam and Ray alike in one sentence."""
    pytest.importorskip("apache_beam" if engine == "beam" else "ray")
    out = tmp_path / "out"
    words = ["build", str(recipe), "--out", str(out), "--engine", engine, "--workers", "2"]
    command = [sys.executable, "-m", "pipelines", *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    ) as run:
        assert run.stderr is not None
        said = []
        for line in run.stderr:
            said.append(line)
            if line.startswith("measure: 4 tasks"):
                os.killpg(run.pid, signal.SIGINT)
        assert run.wait(120) == 130
    assert said[-1].strip() == SENTENCE
    assert "Traceback" not in "".join(said)
    assert last_event(out)["message"].startswith("stopped by Ctrl-C")


def test_the_reason_of_a_failure_ends_the_log(recipe: Path, tmp_path: Path) -> None:
    """A run that ends with a sentence, even after its last phase, has it as the last line of its log."""
    shards = demo(tmp_path / "crawl", 20, 10)
    cut = max(shards.glob("*.tar"))
    cut.write_bytes(cut.read_bytes()[:20_000])
    out = tmp_path / "out"
    done = run_inline("build", shards, "--out", out, "--max-quarantine", "1")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(last_event(out)["message"].splitlines()[-1].replace("\\u000a", "\n"))


COMMANDS = [("--help",), ("inspect", "SHARD")]


@pytest.mark.parametrize("words", COMMANDS)
def test_output_that_cannot_be_written(recipe: Path, words: tuple[str, ...]) -> None:
    """Where nothing can be printed a command says so in one sentence; where nobody reads on it ends in silence."""
    shard = min((recipe.parent / "crawl/shards").glob("*.tar"))
    names = {"SHARD": str(shard)}
    command = [sys.executable, "-m", "pipelines", *(names.get(word, word) for word in words)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: cannot print: no space left on device\n")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment(), check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
