"""Builds that are killed and resumed; `make chaos` does the same for longer, on more engines, and loses a node."""

from pathlib import Path

import pytest

from tests.chaos import Chaos


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path) -> None:
    """After kills of the driver, its whole group or a worker, in any phase, the corpus equals a calm one."""
    chaos = Chaos(tmp_path, seed=20)
    chaos.prepare(80, 10)
    chaos.round("local", ("--workers", "2"), kills=7)
    assert chaos.kills.total() >= 5, "most kills hit a phase that was at work"
