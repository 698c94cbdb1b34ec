"""Runs a build once for each phase named, and ends it by SIGKILL in the middle of that phase.

    python -m tests.deaths RECIPE OUT PHASE...

Each build is inline, in a fork of this process, which has imported what builds need: the second file of
the phase is written under its temporary name and about to get its own. So the moment is the same on any
machine under any load.
"""

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines import cli
from pipelines.files import Store

WRITES = {
    "measure": "/work/signals/",
    "dedup": "/work/clusters/",
    "score": "/work/scores/",
    "select": "/work/decisions/",
    "compose": "/work/samples/",
    "shard": "/shards/",
    "card": "/manifest.json",
}
"""Phase -> what the paths of its files hold."""

NEEDED = ("vlcorpus", "pipelines.runs", "pipelines.build", "filters.phash", "filters.clip.embedded")
"""What a build imports sooner or later, imported once before the forks."""


def die_in(phase: str) -> None:
    """Makes this process kill itself at the phase's second file; at its first where it writes but one."""
    left = 1 if phase == "card" else 2
    sound = Store.write_atomic

    @contextmanager
    def deadly(self: Store, final: str, tmp_dir: str | Path, *, scratch: bool = False) -> Iterator[Path]:
        nonlocal left
        with sound(self, final, tmp_dir, scratch=scratch) as path:
            yield path
            left -= WRITES[phase] in final
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    Store.write_atomic = deadly  # type: ignore[method-assign]


def main() -> None:
    """Raises RuntimeError where a build ended in any other way."""
    recipe, out, *phases = sys.argv[1:]
    for module in NEEDED:
        importlib.import_module(module)
    for phase in phases:
        child = os.fork()
        if child == 0:
            die_in(phase)
            sys.argv[1:] = ["build", recipe, "--out", out, "--engine", "inline"]
            cli.main()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"the build that should die in phase {phase} ended with status {status}")


if __name__ == "__main__":
    main()
