"""A run of a recipe: the phases in order, each done only where its results are not there yet."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from pipelines.engines.step import Engine, Json, Limits, Resources, Step, named
from pipelines.files import Digests, join, shown
from pipelines.layout import Layout, Name, name_of, text_of
from pipelines.outputs import Output, damaged_path, digest_of
from pipelines.phases.auto import settled
from pipelines.phases.table import PHASES, Phase, phase, up_to
from pipelines.progress import Reporter
from pipelines.receipts import WHOLE as ALL
from pipelines.receipts import Disk, Found, Receipts, Task, listed
from pipelines.recipe.load import applied_text, thresholds
from pipelines.recipe.model import Recipe, Source
from pipelines.remarks import Measured, ignored_text
from pipelines.removal import Removed
from pipelines.sources import Discovery, InputShard, input_shards
from pipelines.sources.identities import Identities
from pipelines.sources.table import KINDS
from pipelines.steps import STEPS, receipts_of
from pipelines.verdicts import Verdicts
from pipelines.watching import Each, Flush, Watching
from schemas.errors import ChangedError, DamagedError
from schemas.plain import many, plain

WHOLE: Final = name_of(ALL)
"""The one name in the results of a phase that is not done shard by shard."""

Settle = Callable[[Task, Json], Task]
"""Takes a task that has just run and its receipt; returns it with the fingerprint that its results have."""

_TRIES: Final = 3
"""How often one file is made again, or one input shard measured again, before a run gives up."""

_NOTHING: Final = MappingProxyType[str, Callable[[], None]]({})

_SHOWN: Final = 5
"""So many damaged files are named; of more there is a count."""


@dataclass
class Build:
    """One run over one corpus folder: walks the table of phases, and does for each what all of them need.

    `results` holds the receipts and `fingerprints` the fingerprints of what was done so far, by phase and name;
    `measured` has the receipts of phase measure added up, by source.
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
    results: dict[str, Mapping[Name, Json]] = field(default_factory=lambda: defaultdict(dict))
    fingerprints: dict[str, Mapping[Name, str]] = field(default_factory=lambda: defaultdict(dict))
    measured: dict[str, Measured] = field(default_factory=dict)
    _receipts: dict[str, Receipts] = field(default_factory=dict)
    _mended: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._disk = Disk(self.layout)
        self._identities = Identities(self.layout)
        # a phase may put in `results` what it makes of its receipts; these are the receipts as they are
        self._vouching: dict[str, Found] = {}
        self._watching = Watching(self.engine, self.layout, self._vouching)
        self.engine = self._watching

    def run(self, until: str = PHASES[-1].name, before: Mapping[str, Callable[[], None]] = _NOTHING) -> None:
        """Does all phases up to `until`; calls what `before` names for a phase just before that phase."""
        self._walk(until, lambda: None, before)

    def rehearse(self, name: str) -> dict[Name, Json]:
        """Returns what a phase would decide, shard by shard; does the phases before it."""
        *before, last = up_to(name)
        self.dry = True
        found: dict[Name, Json] = {}
        self._walk(before[-1].name, lambda: found.update(named(last.rehearse)(self)))
        return found

    def _walk(
        self, until: str, then: Callable[[], None], before: Mapping[str, Callable[[], None]] = _NOTHING
    ) -> None:
        """Does the phases up to `until`, and `then`; from the start again where one finds damage, once it is mended.

        What is done by then is not done again.
        """
        phases = up_to(until)
        for one in phases:
            if one.ready:
                named(one.ready)(self.recipe)
        self.discover()
        while True:
            self.results.clear()
            self._vouching.clear()
            try:
                for one in phases:
                    before.get(one.name, lambda: None)()
                    named(one.run)(self)
                return then()
            except _Again:
                pass
            except ChangedError as error:
                self._mend(error, self._forget_changed)
            except DamagedError as error:
                self._mend(error, self._forget_damaged)
            for source in self.recipe.sources:
                self._found(source)

    def _mend(self, error: ChangedError | DamagedError, forget: Callable[[str], bool]) -> None:
        """Forgets what rests on what `error` is about, and says so; raises it where that is nothing, or in vain."""
        text = str(error)
        self._mended[text] += 1
        if self._mended[text] >= _TRIES or not forget(text):
            raise error
        self.reporter.end()
        self.reporter.say(
            f"{text.partition(': run the same')[0].partition('; run the same')[0]}; it is made again now"
        )

    def discover(self) -> None:
        """Find every source's input shards, and say which rules apply to it; InputError where there are none."""
        for source in self.recipe.sources:
            self.reporter.say(f"source {source.id}: {applied_text(thresholds(self.recipe, source))}")
            found = self._found(source)
            if found.ignored:
                self.reporter.say(f"source {source.id}: {ignored_text(found.ignored)}")

    def _found(self, source: Source) -> Discovery:
        """Takes in what the paths of a source hold now; returns it."""
        found = input_shards(source, self.recipe.read, self._identities.cuts)
        self._identities.list(source.id, found.files)
        # what was found before may be gone, or cut into other parts; what the build made is still there
        self.shards = {
            name: shard
            for name, shard in self.shards.items()
            if name[0] != source.id or KINDS[shard.kind].made
        }
        self.add(found.shards)
        return found

    def add(self, shards: Iterable[InputShard]) -> None:
        """Takes in input shards, in the order of their sources: of equal images that of the first source is kept."""
        found = self.shards | {(shard.source, shard.shard): shard for shard in shards}
        rank = {source.id: number for number, source in enumerate(self.recipe.sources)}
        self.shards = dict(sorted(found.items(), key=lambda item: rank[item[0][0]]))

    def identities(self, names: Iterable[Name]) -> dict[Name, str]:
        """Returns what changes when the content of these input shards does."""
        return self._identities.of(self.recipe, [self.shards[name] for name in names], self.results["render"])

    @property
    def digests(self) -> Digests:
        """The digests of local inputs that are known."""
        return self._identities.digests

    def map(
        self,
        name: str,
        tasks: Sequence[Task],
        limits: Limits | None = None,
        settle: Settle | None = None,
        body: Callable[[Task], Json] = attrgetter("body"),
    ) -> Collection[Json]:
        """Runs those tasks of a phase that are not done; keeps and returns the receipts of all, in order.

        `body` makes the JSON that the engine passes to a task's worker, when it is its turn.
        """
        receipts = self.receipts(name)
        self.check(name, tasks)
        todo = [task for task in tasks if not receipts.done(task)]
        self.reporter.begin(name, len(tasks), len(tasks) - len(todo))
        if todo and self.removed and phase(name).texts:
            # the texts of removed rows come back: select has to blank them again
            self.receipts("select").forget_all_but(())
        self._begin(name, todo)
        with receipts.gathering(), Flush(self.layout) as flush:

            def done(index: int, receipt: Json) -> None:
                task = settle(todo[index], receipt) if settle else todo[index]
                outputs = receipt.get("outputs", ())
                flush.then(outputs, lambda: receipts.write(task, receipt))
                self.reporter.task(receipt)

            if todo:
                step = self._step(name, limits)
                self._watching.map_watched(step, Each(todo, body), done, self._weights(name, todo))
        receipts.merge()
        self.reporter.end()
        return self._keep(name, [task.name for task in tasks]).values()

    def _weights(self, name: str, tasks: Sequence[Task]) -> Sequence[float]:
        """Returns how much tasks have to do in comparison: the bytes of their input shards; () where they have none."""
        if not phase(name).by_shard:
            return ()
        shards = (self.shards.get(name_of(task.name)) for task in tasks)
        return [max(shard.size, 1) if shard else 1 for shard in shards]

    def _keep(self, name: str, names: Sequence[str]) -> Found:
        """Has the receipts of these tasks be the results of a phase."""
        found = self.receipts(name).of(names)
        self.results[name] = self._vouching[name] = found
        self.fingerprints[name] = self.receipts(name).fingerprints(names)
        return found

    def whole(
        self, name: str, fingerprint: str, work: Callable[[], Json], tasks: int = 1, *, again: bool = False
    ) -> Json:
        """Does a phase that is one unit of resumption; keeps and returns its receipt, from an earlier run or from now.

        `work` reports each of its `tasks` that is done. `again`: it is done whatever an earlier run left.
        """
        receipts, task = self.receipts(name), Task(ALL, fingerprint)
        self.check(name, [] if again else [task])
        known = not again and receipts.done(task)
        self.reporter.begin(name, tasks, tasks if known else 0)
        if known:
            (receipt,) = receipts.read([task])
        else:
            last = receipts.outputs(ALL)
            self._begin(name, [task])
            receipt, outputs = self._watching.watched(work)
            if outputs:
                receipt = receipt | {"outputs": self._with_kept(name, last, outputs)}
            with Flush(self.layout) as flush:
                flush.then(outputs, lambda: None)
            # the other phases first: what cannot be made again is never without a receipt that vouches for it
            self._amend(name, outputs)
            receipts.write(task, receipt)
            receipts.merge()
        self.reporter.end()
        self._keep(name, [ALL])
        return receipt

    def receipts(self, name: str) -> Receipts:
        """Returns the receipts of a phase, read once."""
        if name not in self._receipts:
            self._receipts[name] = Receipts(self.layout, name, self._disk, self._listed.get(name, ()))
        return self._receipts[name]

    @cached_property
    def _listed(self) -> dict[str, list[str]]:
        """The files of receipts by phase, as they lay there when the first phase began."""
        return listed(self.layout)

    @property
    def settled(self) -> Recipe:
        """The recipe with the thresholds that it leaves to the run (`min_score: auto`), once all is measured."""
        return settled(self.recipe, self.results["measure"])

    @property
    def rows(self) -> int:
        """How many rows are measured."""
        return sum(one.rows for one in self.measured.values())

    @property
    def rows_of(self) -> dict[Name, int]:
        """Returns how many rows of each input shard are measured."""
        return {name: receipt["rows"] for name, receipt in self.results["measure"].items()}

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
                names = self._disk.names(folder)
                self._remove([file for file in names if self.layout.name_at(file) not in self.shards])

    def check(self, name: str, tasks: Sequence[Task]) -> None:
        """Holds the receipts of tasks against what lies there; says what is damaged, and so made again."""
        self._go_on(name, tasks)
        found = self.receipts(name).check(tasks)
        stopped = self._half_removed(one.output for one in found)
        if stopped:
            files = many(len(stopped), "file")
            self.reporter.say(
                f"{name}: made again: {files} that a removal of rows was at when it was stopped"
            )
        damaged = [one for one in found if one.output not in stopped]
        for one in damaged[:_SHOWN]:
            self.reporter.say(f"{name}: {one.text}: it is made again")
        if len(damaged) > _SHOWN:
            self.reporter.say(
                f"{name}: {len(damaged) - _SHOWN:,} more files are damaged: they are made again"
            )
        if self._remeasured([one.output for one in found]):
            raise _Again

    def check_others(self) -> None:
        """Removes damaged files of receipts of the phases that this recipe does not have; says so."""
        for name in sorted(self._listed.keys() - self.results.keys()):
            self.check(name, ())

    def _remeasured(self, lost: Iterable[str]) -> bool:
        """Forgets the measurement of input shards that lost files, of removed rows among them, which cannot be remade.

        What a rule or a scorer would read of such a row is blanked, so it has to come from the raw row once more.
        Returns whether there are any.
        """
        lost = [name for name in lost if name.startswith(("work/scores/", "work/removed/"))]
        if not lost:
            return False
        blanked = {name for name, _ in self.layout.listed("removed")}
        named = {name: self.layout.name_at(name) for name in lost}
        again = {one for name, one in named.items() if one in blanked or name.startswith("work/removed/")}
        for one in again:
            self.receipts("measure").forget(text_of(one))
        return bool(again)

    def _begin(self, name: str, tasks: Sequence[Task]) -> None:
        """Removes the receipts of tasks that are about to run, and that of the card: its manifest will not hold."""
        if tasks:
            self.receipts(PHASES[-1].name).clear([Task(ALL, "")], synced=True)
        self.receipts(name).clear(tasks)

    def _with_kept(self, name: str, last: Sequence[Json], outputs: Sequence[Json]) -> list[Json]:
        """Returns what a phase wrote, with what it wrote before and reads again: so its memory is still vouched for."""
        own = tuple(f"work/{folder}/" for folder in {*phase(name).reads} & {*phase(name).writes})
        fresh = {output["name"]: output for output in outputs}
        kept = {one["name"]: one for one in last if own and one["name"].startswith(own)}
        return [one for _, one in sorted((kept | fresh).items())]

    def _amend(self, name: str, outputs: Sequence[Json]) -> None:
        """Has the receipts of other phases vouch for what this one wrote in the stead of theirs."""
        owners = {folder: one for one in PHASES for folder in one.folders}
        of_others: dict[str, list[Json]] = defaultdict(list)
        for output in outputs:
            owner = owners.get(_folder_of(output["name"]))
            if owner is not None and owner.name != name:
                of_others[owner.name].append(output)
        for one, found in of_others.items():
            writers = self._writers(phase(one), [output["name"] for output in found])
            amended: dict[str, list[Json]] = defaultdict(list)
            for output in found:
                amended[writers[output["name"]]].append(output)
            self.receipts(one).amend(amended)

    def _go_on(self, name: str, tasks: Iterable[Task]) -> None:
        """Has receipts vouch for files of fetched sources out of which a run that was killed took rows.

        Such a run leaves no receipt of select. What came over the network is not asked for again, nor can a row be
        measured again whose image is gone.
        """
        if not self.removed or self.receipts("select").last(ALL):
            return
        fetched = {source.id for source in self.recipe.sources if KINDS[source.kind].fetched}
        sources = fetched & {source for (source, _), _ in self.layout.listed("removed")}
        for task in tasks:
            if name_of(task.name)[0] in sources:
                outputs = self.receipts(name).outputs(task.name)
                fresh = [one for one in map(self._as_it_lies, map(Output.from_json, outputs)) if one]
                if fresh:
                    self.receipts(name).amend({task.name: fresh})

    def _half_removed(self, files: Iterable[str]) -> set[str]:
        """Returns those files out of which a run that was killed may have taken rows: select left no receipt of it."""
        own = {file for file in files if _folder_of(file)}
        if not own or not self.removed or self.receipts("select").last(ALL):
            return set()
        shards = {name for name, _ in self.layout.listed("removed")}
        return {file for file in own if self.layout.name_at(file) in shards}

    def _is_half_removed_fetched(self, output: Output) -> bool:
        """Returns whether rows of a fetched source were taken out of a file by a task that then was given up.

        Whoever does the task again finds other bytes than were measured; what is gone cannot be measured again.
        """
        if not self._half_removed([output.name]):
            return False
        self._disk.forget([output.name])
        source, _ = self.layout.name_at(output.name)
        fetched = KINDS[self.recipe.source(source).kind].fetched
        return fetched and self._as_it_lies(output) is not None

    def vouch(self, written: Sequence[Json]) -> None:
        """Has the receipts of phases vouch for files that the driver wrote in the stead of theirs, by whole paths."""
        top = self.layout.at("")
        self._amend("", [{**one, "name": one["name"].removeprefix(top)} for one in written])

    def _as_it_lies(self, output: Output) -> Json | None:
        """The description of a file with the digest that it has now; None where it is missing or was not touched."""
        info = self._disk.find(output.name)
        if info is None or info.stamp == output.stamp:
            return None
        with self.layout.store.reading(info.path), self.layout.store.open(info.path) as file:
            digest = digest_of(file)
        return replace(output, size=info.size, digest=digest, stamp=info.stamp).to_json()

    def _writers(self, owner: Phase, outputs: Iterable[str]) -> dict[str, str]:
        """Returns by each of these files the name of the task of a phase that wrote it."""
        if owner.by_shard:
            return {output: text_of(self.layout.name_at(output)) for output in outputs}
        known = self._vouching[owner.name].writers()
        return {output: known.get(output, ALL) for output in outputs}

    def _forget_changed(self, text: str) -> bool:
        """Removes what rests on the input shard that a ChangedError names, so that it is measured again.

        Its fingerprints may stay the same, where its identity does not cover its images: so no receipt may stay of a
        phase that saw the shard, nor rows that a phase uses again. Returns whether there is such a shard.
        """
        changed = [name for name, shard in self.shards.items() if text.startswith(f"{plain(shard)} ")]
        self._identities.cuts.forget(self.shards[name].path for name in changed)
        self._forget_steps()
        for one in PHASES:
            if not one.by_shard:
                self.receipts(one.name).forget_all_but(())
                continue
            for name in changed:
                self.receipts(one.name).forget(text_of(name))
                self._remove(self.layout.file_of(folder, *name) for folder in one.writes)
        return bool(changed)

    def _forget_damaged(self, text: str) -> bool:
        """Removes the file that a DamagedError names and its receipt; returns whether there is one."""
        path = damaged_path(DamagedError(text))
        for one, found in self._vouching.items():
            for name in found:
                for output in found.outputs(name):
                    if shown(self.layout.at(output["name"])) == path:
                        if self._is_half_removed_fetched(Output.from_json(output)):
                            return True  # the phases are walked again, and vouch for it as it lies
                        self.receipts(one).forget(text_of(name))
                        self._remove([output["name"]])
                        self._forget_readers(output["name"])
                        self._remeasured([output["name"]])
                        return True
        if path.startswith(shown(join(self.layout.work, STEPS))):
            return self._forget_steps()
        # a loss of power may leave one of which no receipt tells yet
        for name, _ in self.layout.listed("removed"):
            if shown(self.layout.path("removed", *name)) == path:
                self.receipts("measure").forget(text_of(name))
                self._remove([self.layout.file_of("removed", *name)])
                return True
        return self._remove_of_later(path)

    def _forget_readers(self, file: str) -> None:
        """Forgets what phases that are done may have made of a damaged file, and of what others made of it.

        Their fingerprints do not cover the bytes that they read. Of what all shards had a say in, rows that a phase
        uses again stay.
        """
        own, every = {_folder_of(file)}, set[str]()
        for one in PHASES:
            spoiled = {*one.reads} & (every | own)
            if not spoiled:
                continue
            self.receipts(receipts_of(one.name)).forget_all_but(())
            if one.name not in self._vouching:
                continue
            if one.by_shard and spoiled & own:
                name = self.layout.name_at(file)
                self.receipts(one.name).forget(text_of(name))
                lost = [self.layout.file_of(folder, *name) for folder in one.writes]
                self._remove(lost)
                self._remeasured(lost)
                own.update(one.writes)
            if not one.by_shard or spoiled & every:
                self.receipts(one.name).forget_all_but(())
                every.update(one.writes)

    def _remove_of_later(self, path: str) -> bool:
        """Removes a file that a phase writes that did not read its receipts yet: it then finds it missing."""
        for folder in [folder for one in PHASES for folder in one.writes]:
            for name, info in self.layout.listed(folder):
                if shown(info.path) == path:
                    self._remove([self.layout.file_of(folder, *name)])
                    return True
        return False

    def _remove(self, files: Iterable[str]) -> None:
        """Removes files of the corpus by their names."""
        gone = list(files)
        for file in gone:
            self.layout.store.remove(self.layout.at(file))
        self._disk.forget(gone)

    def _forget_steps(self) -> bool:
        """Has the phases that work in steps begin anew, if they are not done."""
        for one in PHASES:
            self.receipts(receipts_of(one.name)).forget_all_but(())
        return True

    def _step(self, name: str, limits: Limits | None) -> Step:
        setup: Json = {"recipe": self.settled.to_json(), "layout": asdict(self.layout)}
        one = phase(name)
        # what comes over the network is asked for once
        return Step(name, one.worker, setup, limits or self.limits, self.resources(name), not one.lasting)


class _Again(Exception):
    """The phases are walked again from the first, since the results of one were forgotten."""


def _folder_of(name: str) -> str:
    """Returns the folder of work/ that a file lies in."""
    return name.split("/")[1] if name.startswith("work/") else ""
