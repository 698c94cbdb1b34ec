"""Runs a build again and again, ended by SIGKILL where a second step of dedup or select begins, until it ends.

    python -m tests.steps RECIPE OUT REMOVED LOG

So every run does one step, if those of the runs before it are not done again. LOG gets a line for each step that is
done: its worker. Each run is inline, in a fork of this process, which has imported what builds need.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.engines.inline import InlineEngine
from pipelines.phases.table import up_to
from pipelines.progress import Reporter
from pipelines.recipe.load import from_file
from pipelines.removal import read
from pipelines.runs import Options, run
from tests.deaths import NEEDED

PHASES = ("dedup", "select")


def die_at_the_second(log: Path) -> None:
    """Makes this process kill itself when a second step of the phases that work in steps is about to begin."""
    done = 0

    def deadly(sound: Callable[..., Any]) -> Callable[..., Any]:
        def verb(self: InlineEngine, step: Any, *given: Any) -> Any:
            nonlocal done
            if step.name in PHASES and done:
                os.kill(os.getpid(), signal.SIGKILL)
            found = sound(self, step, *given)
            if step.name in PHASES:
                done += 1
                with log.open("a") as file:
                    file.write(f"{step.name} {step.worker.partition(':')[2]}\n")
            return found

        return verb

    for name in ("map", "shuffle"):
        setattr(InlineEngine, name, deadly(getattr(InlineEngine, name)))


def main() -> None:
    """Raises RuntimeError where a run ends in any other way."""
    recipe, out, removed, log = sys.argv[1:]
    for module in (*NEEDED, "filters.signals", *(one.run.partition(":")[0] for one in up_to("select"))):
        importlib.import_module(module)
    made = from_file(recipe).model_copy(update={"out": out})
    listed = read(removed)
    while True:
        child = os.fork()
        if child == 0:
            die_at_the_second(Path(log))
            run(made, "select", Options("inline"), Reporter(), removed=listed)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"the run ended with status {status}")


if __name__ == "__main__":
    main()
