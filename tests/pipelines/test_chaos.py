"""Builds that are killed and resumed; `make chaos` does the same for longer and on more engines."""

from pathlib import Path

import pytest

from tests.chaos import Chaos, lost_node


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path) -> None:
    """After kills of the driver, its whole group or a worker, in any phase, the corpus equals a calm one."""
    chaos = Chaos(tmp_path, seed=20)
    chaos.prepare(80, 10)
    chaos.round("local", ("--workers", "2"), kills=7)
    assert chaos.kills.total() >= 5, "most kills hit a phase that was at work"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_lost_node(tmp_path: Path) -> None:
    """A Ray node that is lost in the middle of measure costs time only."""
    pytest.importorskip("ray", reason="the Ray tests need the extra ray")
    chaos = Chaos(tmp_path, seed=3)
    chaos.prepare(80, 10)
    lost_node(chaos)
