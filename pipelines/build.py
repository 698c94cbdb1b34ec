"""A run of a recipe: the phases in order, each done only where its results are not there yet."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from pipelines.engines.step import Engine, Json, Limits, Resources, Step, named
from pipelines.layout import Layout, Name, name_of, text_of
from pipelines.phases.table import PHASES, Phase, phase, up_to
from pipelines.progress import Reporter
from pipelines.receipts import Receipts, Task
from pipelines.recipe.load import applied_text, thresholds
from pipelines.recipe.model import Recipe
from pipelines.remarks import ignored_text
from pipelines.removal import Removed
from pipelines.sources import InputShard, identity, input_shards, options_of
from pipelines.verdicts import Verdicts
from schemas.errors import ChangedError

WHOLE: Final = name_of("all")
"""The one name in the results of a phase that is not done shard by shard."""

Settle = Callable[[Task, Json], Task]
"""Takes a task that has just run and its receipt; returns it with the fingerprint that its results have."""


@dataclass
class Build:
    """One run over one corpus folder: walks the table of phases, and does for each what all of them need.

    `results` holds the receipts and `fingerprints` the fingerprints of what was done so far, by phase and name.
    """

    recipe: Recipe
    layout: Layout
    engine: Engine
    reporter: Reporter
    given_verdicts: Verdicts
    removed: Removed = field(default_factory=Removed)
    retry_failed: bool = False
    dry: bool = False
    shards: dict[Name, InputShard] = field(default_factory=dict)
    results: dict[str, dict[Name, Json]] = field(default_factory=lambda: defaultdict(dict))
    fingerprints: dict[str, dict[Name, str]] = field(default_factory=lambda: defaultdict(dict))
    _receipts: dict[str, Receipts] = field(default_factory=dict)

    def run(self, until: str = PHASES[-1].name) -> None:
        """Does all phases up to `until`."""
        phases = up_to(until)
        for one in phases:
            if one.ready:
                named(one.ready)(self.recipe)
        self.discover()
        for one in phases:
            self.do(one)

    def rehearse(self, name: str) -> dict[Name, Json]:
        """Returns what a phase would decide, shard by shard; does the phases before it."""
        *before, last = up_to(name)
        self.dry = True
        self.run(before[-1].name)
        found: dict[Name, Json] = named(last.rehearse)(self)
        return found

    def do(self, one: Phase) -> None:
        """Does one phase; those before it are done."""
        try:
            named(one.run)(self)
        except ChangedError as error:
            self._forget(error)
            raise

    def discover(self) -> None:
        """Find every source's input shards, and say which rules apply to it; InputError where there are none."""
        for source in self.recipe.sources:
            self.reporter.say(f"source {source.id}: {applied_text(thresholds(self.recipe, source))}")
            found = input_shards(source, self.recipe.read)
            if found.ignored:
                self.reporter.say(f"source {source.id}: {ignored_text(found.ignored)}")
            self.add(found.shards)

    def add(self, shards: Iterable[InputShard]) -> None:
        """Takes in input shards, in the order of their sources: of equal images that of the first source is kept."""
        found = self.shards | {(shard.source, shard.shard): shard for shard in shards}
        rank = {source.id: number for number, source in enumerate(self.recipe.sources)}
        self.shards = dict(sorted(found.items(), key=lambda item: rank[item[0][0]]))

    def identity(self, shard: InputShard) -> str:
        """Returns what changes when an input shard's content does."""
        source = self.recipe.source(shard.source)
        return identity(shard, source, options_of(source, self.layout))

    def map(
        self, name: str, tasks: Sequence[Task], limits: Limits | None = None, settle: Settle | None = None
    ) -> list[Json]:
        """Runs those tasks of a phase that are not done; keeps and returns the receipts of all, in order."""
        receipts = self.receipts(name)
        present = [task for task in tasks if receipts.done(task)]
        todo = [task for task in tasks if not receipts.done(task)]
        self.reporter.begin(name, len(tasks), len(present))
        receipts.clear(todo)
        found: dict[str, tuple[Task, Json]] = {}

        def done(index: int, receipt: Json) -> None:
            task = settle(todo[index], receipt) if settle else todo[index]
            receipts.write(task, receipt)
            found[task.name] = task, receipt
            self.reporter.task(receipt)

        if todo:
            self.engine.map(self._step(name, limits), [task.body for task in todo], done)
        self.reporter.end()
        found |= {task.name: (task, old) for task, old in zip(present, receipts.read(present), strict=True)}
        settled = [found[task.name] for task in tasks]
        self.results[name] = {name_of(task.name): receipt for task, receipt in settled}
        self.fingerprints[name] = {name_of(task.name): task.fingerprint for task, _ in settled}
        return [receipt for _, receipt in settled]

    def whole(self, name: str, fingerprint: str, work: Callable[[], Json], tasks: int = 1) -> Json:
        """Does a phase that is one unit of resumption; keeps and returns its receipt, from an earlier run or from now.

        `work` reports each of its `tasks` that is done.
        """
        receipts, task = self.receipts(name), Task("all", fingerprint)
        known = receipts.done(task)
        self.reporter.begin(name, tasks, tasks if known else 0)
        if known:
            (receipt,) = receipts.read([task])
        else:
            receipts.clear([task])
            receipt = work()
            receipts.write(task, receipt)
        self.reporter.end()
        self.results[name], self.fingerprints[name] = {WHOLE: receipt}, {WHOLE: fingerprint}
        return receipt

    def receipts(self, name: str) -> Receipts:
        """Returns the receipts of a phase, listed once."""
        if name not in self._receipts:
            self._receipts[name] = Receipts(self.layout, name)
        return self._receipts[name]

    @property
    def rows(self) -> int:
        """How many rows are measured."""
        return sum(receipt["rows"] for receipt in self.results["measure"].values())

    @property
    def limits(self) -> Limits:
        """What a row may use by the recipe."""
        resources = self.recipe.resources
        return Limits(
            row_cpu_seconds=resources.row_cpu_seconds,
            row_wall_seconds=resources.row_wall_seconds,
            memory_bytes=int(resources.memory_gb * 1e9),
        )

    def resources(self, name: str) -> Resources:
        """Returns what one worker of a phase takes from a cluster by the recipe."""
        wanted = self.recipe.resources.phases.get(name)
        return Resources(wanted.cpus, wanted.gpus, int(wanted.memory_gb * 1e9)) if wanted else Resources()

    def remove_orphans(self) -> None:
        """Removes what is left of input shards that are no longer in the sources; a file may have no receipt."""
        known = {text_of(name) for name in self.shards}
        for one in PHASES:
            if one.by_shard:
                self.receipts(one.name).forget_all_but(known)
            for folder in one.writes:
                for name, info in self.layout.listed(folder):
                    if name not in self.shards:
                        self.layout.store.remove(info.path)

    def _forget(self, error: ChangedError) -> None:
        """Removes what rests on the input shard that `error` names, so that the next run measures it again.

        The fingerprints of that run are those of this one, since the shard's identity is the same: so no receipt may
        stay of a phase that saw the shard, nor rows that a phase uses again.
        """
        changed = [name for name, shard in self.shards.items() if str(error).startswith(f"{shard} ")]
        for one in PHASES:
            if not one.by_shard:
                self.receipts(one.name).forget_all_but(())
                continue
            for name in changed:
                self.receipts(one.name).forget(text_of(name))
                for folder in one.writes:
                    self.layout.store.remove(self.layout.path(folder, *name))

    def _step(self, name: str, limits: Limits | None) -> Step:
        setup: Json = {"recipe": self.recipe.to_json(), "layout": asdict(self.layout)}
        return Step(name, phase(name).worker, setup, limits or self.limits, self.resources(name))
