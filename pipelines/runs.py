"""One run of a recipe: engine, progress, folder, phases, and what a person sees at the end."""

import datetime
import gc
import json
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pipelines.build import Build
from pipelines.card.drawn import draw_sentences
from pipelines.engines import EngineName
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine, default_workers
from pipelines.engines.step import Engine
from pipelines.files import absolute, join, local_path
from pipelines.layout import Layout, Name
from pipelines.lock import MARK, locked
from pipelines.manifest import read_manifest
from pipelines.phases.table import PHASES, up_to
from pipelines.progress import Reporter
from pipelines.receipts import is_finished
from pipelines.recipe.load import rooted
from pipelines.recipe.model import Recipe
from pipelines.remarks import (
    all_damaged,
    beyond_hub,
    damaged_text,
    misread,
    notes,
    nothing_kept,
    summed,
    tolerated,
    unused_rules,
    without_samples,
)
from pipelines.removal import Removed, gathered, kept
from pipelines.verdicts import Verdicts
from schemas.errors import InputError, OutputError, VerifyError
from schemas.manifest import MANIFEST, Funnel
from schemas.plain import many, plain


@contextmanager
def rehearsed(layout: Layout, until: str) -> Iterator[Layout]:
    """A temporary corpus folder with what the phases up to `until` read; nothing is written to that of `layout`.

    Local files are linked, since a phase never changes a file in place: it puts another in its stead.
    """
    with tempfile.TemporaryDirectory(prefix="vlcorpus-dry-run-") as folder:
        for kind in {"receipts", *(kind for phase in up_to(until) for kind in phase.reads)}:
            for _, info in layout.listed(kind):
                place = Path(folder, "work", kind, info.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                if layout.is_local:
                    os.symlink(local_path(info.path), place)
                else:
                    place.write_bytes(layout.store.read_bytes(info.path))
        yield Layout(folder, layout.run)


@dataclass(frozen=True)
class Options:
    """How a run is made; nothing of it changes the data.

    Raises InputError where there is no engine of that name, or an option belongs to another one.
    """

    engine: str = EngineName.local
    workers: int | None = None
    address: str | None = None
    verdicts: str | None = None
    runner: list[str] = field(default_factory=list)
    retry_failed: bool = False
    """Whether phase fetch asks again for URLs whose failure may have passed."""

    def __post_init__(self) -> None:
        if self.engine not in list(EngineName):
            raise InputError(f"there is no engine {self.engine!r}: give {', '.join(EngineName)}")
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise InputError(f"workers is {self.workers!r}: give a number from 1 up, or None for one a core")
        if self.workers is not None and self.engine == EngineName.inline:
            raise InputError(
                "workers are processes, and the engine inline has none: they need the engine local, ray or beam"
            )
        if self.address is not None and self.engine != EngineName.ray:
            raise InputError("address names a Ray cluster: it needs the engine ray")
        if self.runner and self.engine != EngineName.beam:
            raise InputError(f"{self.runner[0]} is an option of a Beam runner: it needs the engine beam")


def reader(workers: int | None) -> EngineName:
    """Returns the engine that reads a corpus where none is named: this process, or local ones if workers are given."""
    return EngineName.inline if workers is None else EngineName.local


def remove(recipe: Recipe, removed: Removed, options: Options, reporter: Reporter) -> None:
    """Adds to the list of a corpus and builds it again: the recipe is the one that it was built with.

    Raises InputError where there is no corpus, or its recipe is another. A run that was killed is gone on with.
    """
    layout = Layout(absolute(recipe.out), options=dict(recipe.storage_options))
    if is_finished(layout):
        manifest = read_manifest(layout.store, layout.out)
        if manifest.recipe != recipe.digest(kept(layout).digest()):
            raise InputError(
                f"{recipe.out} was built by another recipe; give the one that it was built with, or say what you want "
                "by vlcorpus build with its options and --removed FILE"
            )
    elif not layout.store.is_folder(join(layout.work, MARK)):
        raise InputError(f"there is no corpus in {recipe.out} to remove rows from")
    run(recipe, PHASES[-1].name, options, reporter, removed=removed)


def run(
    recipe: Recipe,
    until: str,
    options: Options,
    reporter: Reporter,
    dry: bool = False,
    removed: Removed = Removed(),  # noqa: B008 - frozen
) -> Layout:
    """Runs the phases up to `until` and reports the funnel; returns where the corpus lies.

    `removed` is added to the list of removed rows that the corpus and the recipe have.
    `dry` decides and writes nothing: what is not measured yet is measured for this once. Raises InputError,
    after the funnel, where more input shards were damaged than the recipe tolerates, and where nothing is kept.
    """
    _check_stays(options, dry)
    recipe = rooted(recipe)
    layout = Layout(absolute(recipe.out), uuid.uuid4().hex[:12], dict(recipe.storage_options))
    verdicts = _verdicts(options)
    removed = gathered(layout, recipe.removed, recipe.removed_only_listed).with_(removed.entries)
    started = datetime.datetime.now(datetime.UTC), time.monotonic()
    with (
        rehearsed(layout, until) if dry else nullcontext(layout) as place,
        locked(place),
        _without_older_garbage(),
        Logged(reporter, place) as logged,
        engine_for(options, logged) as engine,
    ):
        engine.open(place)
        work = Build(recipe, place, engine, logged, verdicts, removed, options.retry_failed)
        if dry:
            decided: Mapping[Name, dict[str, Any]] = work.rehearse(until)
        else:
            work.run(until, {"shard": lambda: _keep_what_is_there(work, logged)})
            decided = work.results["select"]
        logged.close()
        complete = until == PHASES[-1].name
        if complete:
            _write_run(layout, options, started)
        found = _funnels(work, decided)
        if found:
            reporter.finish(found, layout.out, complete, list(_remarks(work)))
        _judge(work, found, dry)
    return layout


def _funnels(work: Build, decided: Mapping[Name, dict[str, Any]]) -> dict[str, Funnel]:
    """Returns the funnel of each source; none where nothing was decided, as in a fetch."""
    if not decided:
        return {}
    from pipelines.card.manifest import funnels  # with it come libraries that a fetch does not need

    return funnels(work.recipe, decided)


@contextmanager
def _without_older_garbage() -> Iterator[None]:
    """Leaves what was made before out of collections of garbage meanwhile, most of it the code of libraries.

    A run makes so many objects that all that live are looked at several times, which takes a tenth of a second each.
    """
    if gc.get_freeze_count():  # the caller has done it, and may not want it undone
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _check_stays(options: Options, dry: bool) -> None:
    """Raises InputError where a dry run would leave this host."""
    if dry and (options.address is not None or options.runner):
        raise InputError(
            "a dry run works in a temporary folder of this host, which a cluster cannot read: leave --address and what "
            "follows -- out"
        )


@contextmanager
def engine_for(options: Options, reporter: Reporter) -> Iterator[Engine]:
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
    with closing(engine):
        yield engine


STOPPED: Final = "stopped by Ctrl-C; run the same command again to go on"


class Logged(Reporter):
    """Passes on to a reporter, and keeps a log of the run in work/log."""

    def __init__(self, reporter: Reporter, layout: Layout) -> None:
        self._reporter, self._layout = reporter, layout
        self._events: list[dict[str, Any]] = []
        self._path = ""
        self._phase = ""
        self._tasks = self._before = 0
        self._since = 0.0

    def __enter__(self) -> "Logged":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            stopped = isinstance(error, KeyboardInterrupt)
            message = STOPPED if stopped else plain(error) or type(error).__name__
            with suppress(OutputError):  # that of the run itself is raised
                self._event("failed", message=message)
            self.close()

    def begin(self, phase: str, tasks: int, done: int) -> None:
        self._phase, self._tasks, self._before, self._since = phase, tasks, done, time.monotonic()
        self._event("begin", tasks=tasks, done=done)
        self._reporter.begin(phase, tasks, done)

    def rows(self, count: int) -> None:
        self._reporter.rows(count)

    def task(self, receipt: dict[str, Any]) -> None:
        self._reporter.task(receipt)

    def live(self, text: str) -> None:
        self._reporter.live(text)

    def end(self) -> None:
        self._event(
            "end", tasks=self._tasks, ran=self._tasks - self._before, seconds=time.monotonic() - self._since
        )
        self._reporter.end()

    def say(self, sentence: str) -> None:
        self._event("say", message=plain(sentence))
        self._reporter.say(sentence)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._reporter.close()

    def _event(self, event: str, **facts: Any) -> None:
        """Write the log anew: it is short, and a killed run leaves it too."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._events.append({"time": now, "event": event, "phase": self._phase, **facts})
        text = "".join(json.dumps(event) + "\n" for event in self._events)
        self._path = self._path or join(self._layout.work, "log", _next_log(self._layout))
        self._layout.store.write_bytes(self._path, text.encode(), self._layout.tmp, scratch=True)


def _next_log(layout: Layout) -> str:
    """Returns the name of this run's log: logs are numbered, since a clock may be put back between runs."""
    taken = [info.name.partition("-")[0] for _, info in layout.listed("log")]
    return f"{1 + max((int(one) for one in taken if one.isdecimal()), default=0):06d}-{layout.run}.jsonl"


def _verdicts(options: Options) -> Verdicts:
    if options.verdicts is None:
        return Verdicts()
    try:
        return Verdicts.parse(Path(options.verdicts).read_bytes(), options.verdicts)
    except OSError as error:
        raise InputError(f"cannot read the verdicts {options.verdicts}: {error.strerror}") from error


def _write_run(layout: Layout, options: Options, started: tuple[datetime.datetime, float]) -> None:
    at, since = started
    facts = {
        "started": at.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - since, 3),
        "engine": str(options.engine),
        "workers": options.workers or default_workers(),
        "host": platform.node(),
        "python": platform.python_version(),
    }
    body = json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"
    layout.store.write_bytes(layout.at("run.json"), body, layout.tmp)


def _remarks(work: Build) -> Iterator[str]:
    """What a person should know at the end of a run: unused members, rules off, limits of the Hub, the mixture."""
    yield from notes(summed({source: one.ledgers for source, one in work.measured.items()}))
    yield from unused_rules(work.recipe, work.shards.values())
    files = (file for receipt in work.results["shard"].values() for file in receipt["files"])
    yield from beyond_hub(files, work.recipe.shards.samples)
    yield from draw_sentences(work.recipe, work.results["compose"])


def _judge(work: Build, found: Mapping[str, Funnel], dry: bool) -> None:
    """Raises InputError where too much is damaged, or nothing kept; warns of what is tolerated."""
    _raise_for_bad_shards(work)
    for sentence in tolerated(all_damaged(work.measured), work.recipe.max_bad_shards):
        work.reporter.say(f"warning: {sentence}")
    _warn_of_nothing_kept(work, found, dry)


def _warn_of_nothing_kept(work: Build, found: Mapping[str, Funnel], dry: bool) -> None:
    """Warns of sources of which no row is kept. Raises InputError where they are all the sources there are."""
    if not found:
        return
    sentences = nothing_kept(work.layout, found, work.shards)
    others = misread(work.recipe, work.measured)
    if sentences and len(sentences) == len(found) and not dry:
        raise InputError(f"the corpus is empty: {'; '.join([*sentences, *others])}")
    sentences += without_samples(work.recipe, found, work.results["compose"])
    if sentences and len(sentences) == len(found) and not dry:
        raise InputError(f"the corpus has no sample: {'; '.join([*sentences, *others])}")
    for sentence in [*sentences, *others]:
        work.reporter.say(f"warning: {sentence}")


def _keep_what_is_there(work: Build, reporter: Reporter) -> None:
    """Raises InputError where no row is kept and a corpus is there, before phase shard empties it.

    Rows that a person had removed leave the shards all the same.
    """
    if work.removed or not _has_shards(work.layout):
        return
    if any(receipt["kept"] for receipt in work.results["select"].values()):
        return
    found = _funnels(work, work.results["select"])
    sentences = nothing_kept(work.layout, found, work.shards)
    reporter.finish(found, work.layout.out, False, [])
    _raise_for_bad_shards(work)
    sentences += misread(work.recipe, work.measured)
    raise InputError(
        f"the corpus is empty: {'; '.join(sentences)}; the shards that were there stay: to be without them, remove "
        f"{plain(work.layout.out)}"
    )


def _has_shards(layout: Layout) -> bool:
    """Whether a corpus is there that is not empty; a manifest that cannot be read may be that of one."""
    if not layout.store.exists(layout.at(MANIFEST)):
        return False
    try:
        return bool(read_manifest(layout.store, layout.out).shards)
    except VerifyError:
        return True


def _raise_for_bad_shards(work: Build) -> None:
    bad = all_damaged(work.measured)
    if len(bad) > work.recipe.max_bad_shards:
        raise InputError(
            f"{many(len(bad), 'damaged input file')} (what could be read is in the corpus); mend or remove what is "
            f"damaged, or allow it with --max-bad-shards {len(bad)}:",
            *(f"  {one}" for one in damaged_text(bad)),
        )
