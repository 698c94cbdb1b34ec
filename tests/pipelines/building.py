"""Whole builds in a test: a recipe as a dict, an output folder, and what each phase did."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.build import Build
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Engine, Json
from pipelines.layout import Layout, Name
from pipelines.lock import locked
from pipelines.recipe.model import Recipe
from pipelines.verdicts import Verdicts

Results = dict[str, Mapping[Name, Json]]


@dataclass
class Heard:
    """A reporter that keeps what it is told: phase -> (tasks, done before)."""

    phases: dict[str, tuple[int, int]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def begin(self, phase: str, tasks: int, done: int) -> None:
        self.phases[phase] = (tasks, done)

    def rows(self, count: int) -> None: ...

    def task(self, receipt: dict[str, Any]) -> None: ...

    def end(self) -> None: ...

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def finish(self, *facts: object) -> None: ...

    def close(self) -> None: ...

    @property
    def ran(self) -> dict[str, int]:
        """How many tasks of each phase ran now."""
        return {phase: tasks - done for phase, (tasks, done) in self.phases.items()}


@contextlib.contextmanager
def engine(workers: int = 0) -> Iterator[Engine]:
    """The inline engine, or a local one with so many workers; closed at the end."""
    made = LocalEngine(workers) if workers else InlineEngine()
    try:
        yield made
    finally:
        made.close()


def build(
    recipe: dict[str, Any],
    out: Path,
    until: str = "card",
    workers: int = 0,
    before: Mapping[str, Callable[[], None]] = MappingProxyType({}),
    given: Verdicts = Verdicts(),  # noqa: B008 - frozen, so one for all calls is safe
) -> tuple[Results, Heard]:
    """Runs a recipe inline, or on local workers; its receipts by phase and shard, and what was reported.

    Calls what `before` names for a phase just before it; follows the `given` verdicts.
    """
    heard = Heard()
    layout = Layout(str(out), "test")
    with locked(layout), engine(workers) as made:
        made.open(layout)
        work = Build(Recipe.model_validate(recipe), layout, made, heard, given)
        work.run(until, before)
        return work.results, heard


def table(out: Path, kind: str) -> pa.Table:
    """All of work/<kind>, in order of source and shard."""
    paths = sorted((out / "work" / kind).rglob("*.parquet"))
    return pa.concat_tables([pq.ParquetFile(path).read() for path in paths])


def rows(out: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of work/<kind>."""
    return list(table(out, kind).to_pylist())
