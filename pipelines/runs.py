"""One run from the command line: engine, progress, folder, phases, and what a person sees at the end."""

import datetime
import json
import platform
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.build import Build
from pipelines.claim import claimed
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine, default_workers
from pipelines.engines.names import EngineName
from pipelines.engines.step import Engine
from pipelines.files import absolute, join
from pipelines.layout import Layout
from pipelines.manifest import funnels
from pipelines.progress import Lines, Live, Reporter
from pipelines.recipes import rooted
from pipelines.report import print_funnels
from pipelines.verdicts import Verdicts
from schemas.errors import InputError
from schemas.recipe import Recipe


@dataclass(frozen=True)
class Options:
    """How a run is made; nothing of it changes the data."""

    engine: EngineName = EngineName.local
    workers: int | None = None
    address: str | None = None
    verdicts: str | None = None
    as_json: bool = False
    runner: list[str] = field(default_factory=list)


def run(recipe: Recipe, until: str, options: Options, dry: bool = False) -> None:
    """Run the phases up to `until`, then print the funnel; raises where input shards were damaged."""
    _check(options)
    recipe = rooted(recipe)
    layout = Layout(absolute(recipe.out), uuid.uuid4().hex[:12], dict(recipe.storage_options))
    verdicts = _verdicts(options)
    reporter = reporter_for(options)
    started = time.time()
    with claimed(layout), Logged(reporter, layout) as logged, engine_for(options, recipe, logged) as engine:
        engine.open(layout)
        work = Build(recipe, layout, engine, logged, verdicts)
        work.run("score" if dry else until)
        decided = work.dry_select() if dry else work.results.decided
        logged.close()
        if until == "card" and not dry:
            _write_run(layout, options, started)
    _tell(recipe, decided, layout, options, until)
    _raise_for_bad_shards(work)


def _check(options: Options) -> None:
    """InputError where an option belongs to an engine that is not asked for."""
    if options.address is not None and options.engine is not EngineName.ray:
        raise InputError("--address names a Ray cluster: give --engine ray with it")
    if options.runner and options.engine is not EngineName.beam:
        raise InputError(
            f"what follows -- ({options.runner[0]} …) is for a Beam runner: give --engine beam with it"
        )


def reporter_for(options: Options) -> Reporter:
    """Bars on a terminal, lines elsewhere, JSON where asked for."""
    if options.as_json:
        return Lines(sys.stdout, as_json=True)
    console = Console(stderr=True)
    return Live(console) if console.is_terminal else Lines()


@contextmanager
def engine_for(options: Options, recipe: Recipe, reporter: Reporter) -> Iterator[Engine]:
    """The engine that the options name, closed at the end."""
    workers = options.workers or default_workers()
    engine: Engine
    match options.engine:
        case EngineName.inline:
            engine = InlineEngine(rows=reporter.rows)
        case EngineName.local:
            engine = LocalEngine(workers, rows=reporter.rows)
        case EngineName.ray:
            from pipelines.engines.ray import RayEngine

            engine = RayEngine(options.workers, options.address, rows=reporter.rows)
        case EngineName.beam:
            from pipelines.engines.beam import BeamEngine

            engine = BeamEngine(options.runner, workers, rows=reporter.rows)
    try:
        yield engine
    finally:
        engine.close()


class Logged:
    """Passes on to a reporter, and keeps a log of the run in work/log."""

    def __init__(self, reporter: Reporter, layout: Layout) -> None:
        self._reporter, self._layout = reporter, layout
        self._events: list[dict[str, Any]] = []
        self._phase = ""
        self._tasks = self._before = 0
        self._since = 0.0

    def __enter__(self) -> "Logged":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._event("failed", message=str(error))
            self.close()

    def begin(self, phase: str, tasks: int, done: int) -> None:
        self._phase, self._tasks, self._before, self._since = phase, tasks, done, time.time()
        self._event("begin", tasks=tasks, done=done)
        self._reporter.begin(phase, tasks, done)

    def rows(self, count: int) -> None:
        self._reporter.rows(count)

    def task(self, receipt: dict[str, Any]) -> None:
        self._reporter.task(receipt)

    def end(self) -> None:
        self._event(
            "end", tasks=self._tasks, ran=self._tasks - self._before, seconds=time.time() - self._since
        )
        self._reporter.end()

    def say(self, sentence: str) -> None:
        self._event("say", message=sentence)
        self._reporter.say(sentence)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._reporter.close()

    def _event(self, event: str, **facts: Any) -> None:
        """Write the log anew: it is short, and a killed run leaves it too."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._events.append({"time": now, "event": event, "phase": self._phase, **facts})
        text = "".join(json.dumps(event) + "\n" for event in self._events)
        path = join(self._layout.work, "log", f"{self._layout.run}.jsonl")
        self._layout.store.write_bytes(path, text.encode(), self._layout.tmp)


def _verdicts(options: Options) -> Verdicts:
    if options.verdicts is None:
        return Verdicts()
    try:
        return Verdicts.parse(Path(options.verdicts).read_bytes(), options.verdicts)
    except OSError as error:
        raise InputError(f"cannot read the verdicts {options.verdicts}: {error.strerror}") from error


def _write_run(layout: Layout, options: Options, started: float) -> None:
    facts = {
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 3),
        "engine": options.engine.value,
        "workers": options.workers or default_workers(),
        "host": platform.node(),
        "python": platform.python_version(),
    }
    body = json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"
    layout.store.write_bytes(layout.at("run.json"), body, layout.tmp)


def _tell(recipe: Recipe, decided: dict[Any, Any], layout: Layout, options: Options, until: str) -> None:
    if not decided:
        return
    found = funnels(recipe, decided)
    if options.as_json:
        record = {source: funnel.model_dump(mode="json") for source, funnel in found.items()}
        print(json.dumps({"event": "funnel", "out": layout.out, "funnel": record}, ensure_ascii=False))
        return
    console = Console()
    print_funnels(console, found)
    if until == "card":
        console.print(f"corpus: {layout.out} (README.md says what is in it)", highlight=False, soft_wrap=True)
        console.print(f"check:  vlcorpus verify {layout.out}", highlight=False, soft_wrap=True)


def _raise_for_bad_shards(work: Build) -> None:
    bad = work.bad_shards()
    if len(bad) > work.recipe.max_bad_shards:
        listed = "\n".join(f"  {'/'.join(name)}: {reason}" for name, reason in bad[:20])
        raise InputError(
            f"{len(bad)} input shards are damaged (rows before the damage are in the corpus); mend or remove "
            f"them, or allow them with --max-bad-shards {len(bad)}:\n{listed}"
        )
