"""Builds that are killed and resumed; `make chaos` does it at random moments, on all engines, and loses a node."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos import VICTIMS, Chaos, kill, processes_below, started
from tests.deaths import WRITES
from tests.pipelines.crawls import build_inline, environment, litter, ran


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Chaos:
    """Four shards of ten rows, and the corpus that an undisturbed run makes of them."""
    made = Chaos(tmp_path_factory.mktemp("chaos"), seed=20)
    made.prepare(40, 10)
    return made


def test_killed_in_every_phase_and_resumed(chaos: Chaos) -> None:
    """After a SIGKILL amid a write of each phase, one after the other, the corpus equals an undisturbed one."""
    corpus = chaos.folder / "killed"
    command = [sys.executable, "-m", "tests.deaths", str(chaos.recipe), str(corpus), *WRITES]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (corpus / "manifest.json").exists(), "the last one died before it"
    build_inline(chaos.recipe, "--out", corpus)
    assert {phase for phase, count in ran(corpus).items() if count} == {"card"}
    chaos.check(corpus)


def test_the_driver_and_a_worker_are_killed(chaos: Chaos) -> None:
    """Workers whose driver is killed spoil nothing; the death of one that no row is to blame for ends no run."""
    corpus = chaos.folder / "orphans"
    command = ("measure", chaos.recipe, "--out", corpus, "--workers", "2")
    assert end(started(*command), "driver", chaos) == -signal.SIGKILL
    assert end(started(*command), "worker", chaos) == 0
    assert signals(corpus) == signals(chaos.folder / "calm")
    assert litter(corpus) == []


def signals(corpus: Path) -> dict[str, bytes]:
    """Returns the files that measure writes."""
    return {
        path.name: path.read_bytes() for path in (corpus / "work" / "signals").rglob("*") if path.is_file()
    }


def end(process: "subprocess.Popen[str]", deed: str, chaos: Chaos) -> int:
    """Returns the exit code of a run on which the deed is done as soon as it has a worker."""
    while not processes_below(process.pid, VICTIMS["worker"]):
        assert process.poll() is None, "it ended without a worker"
        time.sleep(0.01)
    kill(process, deed, chaos.hand)
    process.communicate()
    return process.returncode
