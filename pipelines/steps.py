"""The steps of a phase that works in several: what each of them leaves stays in work/ until the phase is done.

So a driver that dies in the middle of such a phase loses one step. A step's files lie in work/steps/PHASE/MARK, and
its receipt vouches for them as a task's does for its outputs. The mark covers all that the phase's results depend on,
and the program itself: another version of it may leave other files between its steps.
"""

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.engines.step import Done, Json, Kept, Step
from pipelines.files import join
from pipelines.layout import Layout
from pipelines.outputs import check_whole
from pipelines.phases.table import phase
from pipelines.receipts import Receipts, Task, fingerprint, versions
from schemas.errors import DamagedError
from schemas.plain import many

if TYPE_CHECKING:
    from pipelines.build import Build

STEPS: Final = "steps"
"""The folder of work/ in which steps leave their files."""

_OF_THE_PHASE: Final = {"layout", "recipe", "scratch"}
"""Settings of a step that the phase's fingerprint covers, as far as any result depends on them."""

_PROGRAM: Final = ("filters", "pipelines", "schemas")


def in_steps(
    build: "Build", name: str, fingerprint: str, work: Callable[["Steps"], Json], tasks: int = 1
) -> Json:
    """Does a phase that is one unit of resumption, step by step; returns its receipt.

    What its steps left is removed when it is done.
    """
    steps = Steps(build, name, fingerprint)
    receipt = build.whole(name, fingerprint, lambda: work(steps), tasks)
    steps.end()
    return receipt


def receipts_of(name: str) -> str:
    """Returns the name under which the receipts of a phase's steps are kept."""
    return f"{name}-{STEPS}"


class Steps:
    """The engine for the steps of one phase: each runs only where no earlier run of the same phase has done it.

    The step that writes the phase's results (its `worker` in the table of phases) runs always: its receipt is the
    phase's own.
    """

    def __init__(self, build: "Build", name: str, mark: str) -> None:
        self._engine, self._layout, self._say = build.engine, build.layout, build.reporter.say
        self._receipts: Receipts = build.receipts(receipts_of(name))
        self._phase = phase(name)
        self._mark = fingerprint(mark, self._layout.out, _program(), versions(("numpy", "pyarrow")))
        self._count = self._again = 0

    @property
    def folder(self) -> str:
        """Where the steps leave their files."""
        return join(self._all, self._mark)

    @property
    def _all(self) -> str:
        return join(self._layout.work, STEPS, self._phase.name)

    def open(self, layout: Layout) -> None:
        """Gets the engine ready."""
        self._engine.open(layout)

    def close(self) -> None:
        """Ends what the engine started."""
        self._engine.close()

    def map(
        self, step: Step, tasks: Sequence[Json], done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Returns the receipts in the order of the tasks."""
        if step.worker == self._phase.worker:
            return self._engine.map(step, tasks, done, weights)
        found = self._once(
            step, [list(tasks)], lambda keeping, _: self._engine.map(keeping, tasks, weights=weights)
        )
        if done:
            for index, receipt in enumerate(found):
                done(index, receipt)
        return found

    def shuffle(
        self, step: Step, tasks: Sequence[Json], partitions: int, kept: Kept | None = None
    ) -> list[Json]:
        """Returns the receipts of the partitions that hold rows, in partition order."""
        if step.worker == self._phase.worker:
            return self._engine.shuffle(step, tasks, partitions, kept)
        return self._once(
            step,
            [list(tasks), partitions],
            lambda keeping, left: self._engine.shuffle(keeping, tasks, partitions, left.extend),
        )

    def end(self) -> None:
        """Removes what the steps left."""
        self._receipts.forget_all_but(())
        for place in (join(self._layout.work, "receipts", receipts_of(self._phase.name)), self._all):
            self._layout.store.remove_folder(place)
        self._layout.store.remove_empty(self._layout.work, [STEPS])

    def _once(
        self, step: Step, given: list[Any], work: Callable[[Step, list[Json]], list[Json]]
    ) -> list[Json]:
        """Returns the receipts of a step, from an earlier run or from now."""
        if not self._count:
            self._remove_others()
        setup = {name: value for name, value in step.setup.items() if name not in _OF_THE_PHASE}
        name = f"{self._count:03d}-{step.worker.partition(':')[2]}"
        task = Task(name, fingerprint(self._mark, step.worker, setup, given))
        self._count += 1
        if self._is_done(task):
            self._again += 1
            receipts: list[Json] = self._receipts.read([task])[0]["receipts"]
            return receipts
        self._tell()
        self._receipts.clear([task])
        left: list[Json] = []
        found = work(replace(step, kept=True), left)
        left += [one for receipt in found for one in receipt.get("scratch", ())]
        receipts = [{name: one for name, one in receipt.items() if name != "scratch"} for receipt in found]
        self._receipts.write(task, {"receipts": receipts, "outputs": self._named(left)})
        return receipts

    def _is_done(self, task: Task) -> bool:
        """Returns whether the step is done, and its files are whole.

        Nobody waits for the disk when a step's files are written: a loss of power may leave one that has the size and
        the time of the whole one. So all are read; what an object store has taken is there.
        """
        if not self._receipts.done(task):
            return False
        if self._layout.is_local:
            outputs = self._receipts.outputs(task.name)
            try:
                check_whole(
                    self._layout.store, {self._layout.at(one["name"]): one["digest"] for one in outputs}
                )
            except DamagedError:
                return False
        return True

    def _tell(self) -> None:
        if self._again:
            steps = many(self._again, "step")
            self._say(f"{self._phase.name}: {steps} of an earlier run, which was stopped, are used again")
            self._again = 0

    def _remove_others(self) -> None:
        """Removes what steps of the phase left that had other inputs or settings."""
        store = self._layout.store
        for name in sorted(store.names_in(self._all) if store.is_folder(self._all) else ()):
            if name != self._mark:
                store.remove_folder(join(self._all, name))

    def _named(self, files: list[Json]) -> list[Json]:
        """Returns the descriptions of files by their names below the corpus, each file once."""
        top = self._layout.at("")
        found = {one["name"].removeprefix(top): one for one in files}
        return [{**one, "name": name} for name, one in sorted(found.items())]


@cache
def _program() -> str:
    """Returns a digest of the program's text."""
    digest = hashlib.blake2b(digest_size=16)
    for package in _PROGRAM:
        (folder,) = importlib.import_module(package).__path__
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
