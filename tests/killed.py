"""Runs a command again and again, ended by SIGKILL at the first, second, third … file that it writes, until it ends.

    python -m tests.killed COMMAND...

Prints how often it was killed. Each run is a fork of this process, which has imported what builds need.
"""

import importlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines import cli
from pipelines.files import Store
from tests.deaths import NEEDED


def die_at(number: int) -> None:
    """Makes this process kill itself when so many files are written and the last is about to get its name."""
    left = number
    sound = Store.write_atomic

    @contextmanager
    def deadly(self: Store, final: str, tmp_dir: str | Path, *, scratch: bool = False) -> Iterator[Path]:
        nonlocal left
        with sound(self, final, tmp_dir, scratch=scratch) as path:
            yield path
            left -= "/work/log/" not in final
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    Store.write_atomic = deadly  # type: ignore[method-assign]


def main() -> None:
    """Raises RuntimeError where the command fails."""
    for module in NEEDED:
        importlib.import_module(module)
    killed = 0
    while True:
        child = os.fork()
        if child == 0:
            die_at(killed + 1)
            try:
                cli.main()
            except SystemExit as end:
                os._exit(1 if end.code else 0)  # threads that did not survive the fork are not waited for
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            print(killed)
            return
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"the run ended with status {status}")
        killed += 1


if __name__ == "__main__":
    main()
