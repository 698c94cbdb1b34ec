"""A run of a recipe: the phases in order, each done only where its results are not there yet."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

from filters.language import model_digest
from pipelines.card.manifest import Results, write_card
from pipelines.engines.step import Done, Engine, Json, Limits, Resources, Step
from pipelines.files import Store, join
from pipelines.layout import Layout
from pipelines.phases.compose import WORKER as COMPOSE
from pipelines.phases.compose import compose_fingerprint
from pipelines.phases.dedup import DedupPlan, dedup, partitions_for
from pipelines.phases.ground import WORKER as GROUND
from pipelines.phases.ground import chunker_names, ground_fingerprint, validity
from pipelines.phases.measure import WORKER as MEASURE
from pipelines.phases.measure import forget, measure_fingerprint
from pipelines.phases.render import WORKER as RENDER
from pipelines.phases.render import plan_rendered
from pipelines.phases.score import WORKER as SCORE
from pipelines.phases.score import check_scorers, score_fingerprint
from pipelines.phases.select import select
from pipelines.phases.shard import WORKER as SHARD
from pipelines.phases.shard import Planned, plan, runs, shard_fingerprint
from pipelines.progress import Reporter
from pipelines.receipts import Receipts, Task, fingerprint
from pipelines.recipe.load import applied_text, thresholds
from pipelines.recipe.model import Recipe, Source
from pipelines.remarks import (
    check_columns_agree,
    check_unused,
    commonest_errors,
    ignored_text,
    members_of,
    notes,
    shown_columns,
)
from pipelines.sources import InputShard, discover, identity
from pipelines.sources.annotations import annotation_identity, discover_annotations
from pipelines.verdicts import Verdicts
from schemas.errors import ChangedError, InputError

PHASES = ("measure", "dedup", "score", "select", "ground", "compose", "shard", "card")
BY_SHARD = (
    "rendered",
    "signals",
    "further",
    "drafts",
    "clusters",
    "scores",
    "decisions",
    "grounded",
    "samples",
)
"""Folders of work/ with a file for each input shard."""

Name = tuple[str, str]
"""(source, shard)"""


@dataclass
class Build:
    """One run over one corpus folder; its methods are the phases."""

    recipe: Recipe
    layout: Layout
    engine: Engine
    reporter: Reporter
    given_verdicts: Verdicts
    shards: dict[Name, InputShard] = field(default_factory=dict)
    results: Results = field(default_factory=Results)

    def run(self, until: str = "card") -> Results:
        """All phases up to `until`."""
        phases = PHASES[: PHASES.index(until) + 1]
        if "score" in phases:
            check_scorers(self.recipe)
        self.discover()
        for phase in phases:
            try:
                getattr(self, phase)()
            except ChangedError as error:
                forget(self.layout, self.shards, error)
                raise
        return self.results

    def discover(self) -> None:
        """Find every source's input shards, and say which rules apply to it; InputError where there are none."""
        for source in self.recipe.sources:
            self.reporter.say(f"source {source.id}: {applied_text(thresholds(self.recipe, source))}")
            if source.kind == "annotations":
                store = Store(source.storage_options or None, source.id)
                for shard in discover_annotations(source, store):
                    self.shards[(source.id, shard.shard)] = shard
                continue
            if source.kind == "rendered":
                continue
            found = discover(
                source.id,
                source.path,
                source.kind,
                source.storage_options,
                source.columns,
                self.recipe.read,
            )
            if not found.shards:
                raise InputError(
                    f"source {source.id}: nothing to read in {', '.join(source.path)}; give tars, Parquet files, "
                    "or a folder of pictures with a JSONL or CSV file"
                )
            if found.ignored:
                self.reporter.say(f"source {source.id}: {ignored_text(found.ignored)}")
            self.shards |= {(source.id, shard.shard): shard for shard in found.shards}
        self._render()
        # of equal pictures the one of the first source is kept
        rank = {source.id: number for number, source in enumerate(self.recipe.sources)}
        self.shards = dict(sorted(self.shards.items(), key=lambda item: rank[item[0][0]]))

    def _render(self) -> None:
        """The raw shards of all rendered sources, made where they are not there yet."""
        sources = [source for source in self.recipe.sources if source.kind == "rendered"]
        planned = [(source.id, one) for source in sources for one in plan_rendered(self.recipe, source)]
        if not planned:
            return
        tasks = [Task(f"{source}/{one.shard}", one.fingerprint, one.body) for source, one in planned]
        receipts = self._phase("render", self._step("render", RENDER), tasks)
        for (source, one), receipt in zip(planned, receipts, strict=True):
            path = self.layout.rendered(source, one.shard)
            size = self.layout.store.info(path).size
            self.shards[(source, one.shard)] = InputShard(source, one.shard, path, "rendered", "tar", size)
            self.results.made_with |= set(receipt["made_with"])

    def measure(self) -> None:
        """Signals of every shard, then the checks that are made once a source is measured."""
        kept = Verdicts.read(self.layout)
        verdicts = kept.updated(self.given_verdicts)
        for name in self.shards:
            if verdicts.of(*name) != kept.of(*name):
                verdicts.of(*name).write(self.layout, *name)
        with ThreadPoolExecutor(8) as pool:
            identities = dict(zip(self.shards, pool.map(self._identity, self.shards.values()), strict=True))
        model = model_digest(self.recipe.signals.language)
        tasks = []
        for name, shard in self.shards.items():
            source = self.recipe.source(shard.source)
            known = verdicts.of(*name)
            mark = measure_fingerprint(self.recipe, source, identities[name], known.by_member(), model)
            body = {"input": shard.to_json(), "shard": "/".join(name), "known": known.by_member()}
            tasks.append(Task("/".join(name), mark, body))
        receipts = Receipts(self.layout, "measure")
        self._remove_strangers(receipts, tasks)
        written: dict[str, str] = {}

        def done(task: Task, receipt: Json) -> Task:
            """Keep new verdicts, as part of what the shard's signals depend on from now on."""
            name = _name(task.name)
            found = verdicts.of(*name).found(receipt["verdicts"], receipt["blamed"])
            if found == verdicts.of(*name):
                return task
            found.write(self.layout, *name)
            mark = measure_fingerprint(
                self.recipe, self.recipe.source(name[0]), identities[name], found.by_member(), model
            )
            written[task.name] = mark
            return replace(task, fingerprint=mark)

        results = self._phase("measure", self._step("measure", MEASURE), tasks, receipts, done)
        self.results.measured = {_name(task.name): r for task, r in zip(tasks, results, strict=True)}
        self.results.marks = {_name(task.name): written.get(task.name, task.fingerprint) for task in tasks}
        self.results.verdicts = Verdicts.read(self.layout)
        self._check_sources()

    def dedup(self) -> None:
        """Clusters over all sources."""
        phash = self.recipe.rules.phash
        distance = phash.distance if phash else None
        evaluation = self.recipe.evaluation
        guard = [evaluation, self.recipe.eval_distance] if evaluation else []
        marks = sorted([*name, mark] for name, mark in self.results.marks.items())
        mark = fingerprint("dedup", 2, distance, guard, marks)
        rows = sum(receipt["rows"] for receipt in self.results.measured.values())

        def work(done: Callable[[Json], None]) -> Json:
            return dedup(
                self.engine,
                DedupPlan(
                    work=self.layout.work,
                    scratch=join(self.layout.exchange, "dedup"),
                    shards=tuple(self.shards),
                    distance=distance,
                    evaluation=evaluation,
                    eval_distance=self.recipe.eval_distance,
                    partitions=partitions_for(rows),
                    options=self.layout.options or None,
                    limits=self._limits(),
                    resources=self._resources("dedup"),
                ),
            )

        self.results.clusters = self._whole("dedup", mark, work)
        self.results.dedup_mark = mark

    def score(self) -> None:
        """CLIP scores of the rows that reach the clip rule, in sources that are scored."""
        tasks = []
        for name in sorted(self.shards):
            source = self.recipe.source(name[0])
            if self.recipe.is_scored(source):
                signals = self.results.marks[name]
                body = {"source": name[0], "shard": name[1], "number": 0, "signals": signals}
                body["input"] = self.shards[name].to_json()
                mark = score_fingerprint(self.recipe, source, signals)
                if self.recipe.evaluation:
                    # which rows show an evaluation image, and so need no score, is known from dedup
                    mark = fingerprint("guarded", mark, self.results.dedup_mark)
                tasks.append(Task("/".join(name), mark, body))
        if not tasks:
            return
        if self.recipe.embedded_scorers:
            self.reporter.say(
                "CLIP scores are by the embedded scorer, which knows the drawn scenes of the demo alone: on other "
                "images they mean nothing"
            )
        results = self._phase("score", self._score_step(), tasks)
        self.results.scored = {_name(task.name): r for task, r in zip(tasks, results, strict=True)}
        self._check_scores()
        self.results.score_marks = {_name(task.name): task.fingerprint for task in tasks}

    def _check_scores(self) -> None:
        """InputError where no row that should bring its own score has a number there."""
        for source in self.recipe.sources:
            found = {name: r for name, r in self.results.scored.items() if name[0] == source.id}
            reached = sum(receipt["reached"] for receipt in found.values())
            without = sum(receipt["unscored"] for receipt in found.values())
            if source.clip_score is not None and reached and without == reached:
                raise InputError(_no_score(source, [shard for _, shard in found]))

    def select(self) -> None:
        """A decision for every row."""
        self.results.decided = self._selected("select", write=True)

    def dry_select(self) -> dict[Name, Json]:
        """What select would decide, shard by shard; writes nothing."""
        shards = sorted(self.shards)
        receipts = self._decide(write=False)
        return dict(zip(shards, receipts, strict=True))

    def ground(self) -> None:
        """What a detector finds of the captions of kept pairs, in sources that ask for it."""
        tasks = []
        chunkers = {
            one.id: chunker_names(one.ground) for one in self.recipe.sources if one.ground is not None
        }
        for name in sorted(self.shards):
            source = self.recipe.source(name[0])
            if source.ground is None:
                continue
            settings, signals = source.ground, self.results.marks[name]
            kept = self.results.decided[name]["kept_digest"]
            mark = ground_fingerprint(settings, chunkers[source.id], kept, signals)
            body = {"source": name[0], "shard": name[1], "input": self.shards[name].to_json()}
            body |= {
                "chunkers": chunkers[source.id],
                "validity": validity(settings, chunkers[source.id], signals),
            }
            tasks.append(Task("/".join(name), mark, body))
        if not tasks:
            return
        results = self._phase("ground", self._ground_step(), tasks)
        self.results.grounded = {_name(task.name): r for task, r in zip(tasks, results, strict=True)}
        self.results.ground_marks = {_name(task.name): task.fingerprint for task in tasks}

    def compose(self) -> None:
        """The samples of every kept row."""
        tasks = []
        for name in sorted(self.shards):
            source = self.recipe.source(name[0])
            digest = self.results.decided[name]["kept_digest"]
            marks = [
                self.results.marks[name],
                self.results.score_marks.get(name),
                self.results.ground_marks.get(name),
            ]
            mark = compose_fingerprint(self.recipe, source, digest, marks)
            tasks.append(Task("/".join(name), mark, {"source": name[0], "shard": name[1]}))
        results = self._phase("compose", self._step("compose", COMPOSE), tasks)
        self.results.composed = {_name(task.name): r for task, r in zip(tasks, results, strict=True)}

    def shard(self) -> None:
        """The output shards."""
        planned = plan(runs(self.layout, self.results.composed), self.recipe.shards.samples)
        tasks = [
            Task(one.name.replace("/", "-"), shard_fingerprint(self.recipe, one), self._shard_body(one))
            for one in planned
        ]
        receipts = Receipts(self.layout, "shard")
        gone = receipts.strangers(tasks)
        if gone or not all(receipts.done(task) for task in tasks):
            # what the old manifest promises is about to change
            self.layout.store.remove(self.layout.at("manifest.json"))
        for name in gone:
            receipts.forget(name)
        results = self._phase("shard", self._step("shard", SHARD), tasks, receipts)
        self.results.files = [file for receipt in results for file in receipt["files"]]

    def card(self) -> None:
        """The manifest and the dataset card; then whatever they do not name is removed."""
        self.reporter.begin("card", 1, 0)
        write_card(self.recipe, self.layout, self.results)
        self.reporter.task({})
        self.reporter.end()

    def _selected(self, phase: str, write: bool) -> dict[Name, Json]:
        settings = self.recipe.model_dump(
            mode="json", include={"seed", "languages", "rules", "captions", "splits", "sources"}
        )
        for source in settings["sources"]:
            unseen = (
                "path",
                "files",
                "images",
                "render",
                "storage_options",
                "max_quarantine",
                "max_unused",
                "origin",
                "licence",
            )
            for key in (*unseen, "ground", "chat"):
                source.pop(key)
        scores = sorted([*name, mark] for name, mark in self.results.score_marks.items())
        mark = fingerprint("select", 4, settings, self.results.dedup_mark, scores)

        def work(done: Callable[[Json], None]) -> Json:
            receipts = self._decide(write)
            for receipt in receipts:
                done(receipt)
            return {"shards": dict(zip(["/".join(n) for n in sorted(self.shards)], receipts, strict=True))}

        receipt = self._whole(phase, mark, work, tasks=len(self.shards))
        return {_name(name): one for name, one in receipt["shards"].items()}

    def _decide(self, write: bool) -> list[Json]:
        rows = sum(receipt["rows"] for receipt in self.results.measured.values())
        return select(
            self.engine,
            self.recipe,
            self.layout,
            sorted(self.shards),
            partitions_for(rows),
            scored=self.results.scored,
            repeats=self.results.clusters["memberships"]["repeat"] > 0,
            write=write,
            limits=self._limits(),
            resources=self._resources("select"),
        )

    def _whole(
        self, phase: str, mark: str, work: Callable[[Callable[[Json], None]], Json], tasks: int = 1
    ) -> Json:
        """A phase that is one unit of resumption: its receipt, from an earlier run or from now."""
        receipts = Receipts(self.layout, phase)
        task = Task("all", mark)
        if receipts.done(task):
            self.reporter.begin(phase, tasks, tasks)
            self.reporter.end()
            return receipts.read([task])[0]
        self.reporter.begin(phase, tasks, 0)
        receipts.clear([task])
        told = 0

        def done(receipt: Json) -> None:
            nonlocal told
            told += 1
            self.reporter.task(receipt)

        receipt = work(done)
        if told == 0:
            self.reporter.task({})
        receipts.write(task, receipt)
        self.reporter.end()
        return receipt

    def _phase(
        self,
        phase: str,
        step: Step,
        tasks: Sequence[Task],
        receipts: Receipts | None = None,
        settle: Callable[[Task, Json], Task] | None = None,
    ) -> list[Json]:
        """The receipts of all tasks, in order; runs those that are not done."""
        receipts = receipts or Receipts(self.layout, phase)
        present = {task.name for task in tasks if receipts.done(task)}
        todo = [task for task in tasks if task.name not in present]
        self.reporter.begin(phase, len(tasks), len(present))
        receipts.clear(todo)
        fresh: dict[str, Json] = {}
        done: Done = self._receiver(todo, receipts, fresh, settle)
        if todo:
            self.engine.map(step, [task.body for task in todo], done)
        self.reporter.end()
        known = [task for task in tasks if task.name in present]
        found = dict(zip([task.name for task in known], receipts.read(known), strict=True)) | fresh
        return [found[task.name] for task in tasks]

    def _receiver(
        self,
        todo: Sequence[Task],
        receipts: Receipts,
        fresh: dict[str, Json],
        settle: Callable[[Task, Json], Task] | None,
    ) -> Done:
        def done(index: int, receipt: Json) -> None:
            task = todo[index]
            if settle is not None:
                task = settle(task, receipt)
            receipts.write(task, receipt)
            fresh[task.name] = receipt
            self.reporter.task(receipt)

        return done

    def _check_sources(self) -> None:
        """What a source as a whole must hold to: enough sound rows, some caption, few damaged shards."""
        for source in self.recipe.sources:
            measured = [(self.shards[n], r) for n, r in self.results.measured.items() if n[0] == source.id]
            receipts = [receipt for _, receipt in measured]
            rows = sum(receipt["rows"] for receipt in receipts)
            bad = sum(sum(receipt["errors"].values()) for receipt in receipts)
            self._check_evaluation(source, rows, bad)
            self._check_columns(source, rows)
            limit = self.recipe.max_quarantine_of(source)
            if rows and bad / rows > limit:
                raise InputError(
                    f"source {source.id}: {bad:,} of {rows:,} rows ({bad / rows:.1%}) are quarantined, more than "
                    f"max_quarantine {limit:g}: "
                    f"{commonest_errors(self.layout, source.id, [shard.shard for shard, _ in measured])}; see `error` "
                    f"in {join(self.layout.work, 'signals', source.id)}, then mend the source or raise --max-quarantine"
                )
            if rows and sum(receipt["missing_images"] for receipt in receipts) == rows:
                raise InputError(
                    f"source {source.id}: none of the pictures that its {rows:,} records name is in "
                    f"{source.images or source.path[0]}; give the folder of its pictures (images: …)"
                )
            if rows == bad or not source.needs_captions:
                continue
            if not any(receipt["captions"] for receipt in receipts):
                there = shown_columns(source, [shard for shard, _ in measured], self.recipe.read)
                raise InputError(
                    f"source {source.id}: not one of its {rows:,} rows has a caption{there}; name the caption's "
                    "column (columns: {caption: …}), or say captions: none"
                )
            check_columns_agree(source, measured, self.recipe.read)

    def _check_evaluation(self, source: Source, rows: int, bad: int) -> None:
        """InputError where an evaluation source was not read: its images would go into training unseen."""
        if source.role != "eval":
            return
        damaged = [why for name, why in self.bad_shards() if name[0] == source.id]
        if damaged or (rows == bad and self.recipe.sample == 1):
            why = (
                damaged[0]
                if damaged
                else f"none of the {rows:,} rows of source {source.id} could be measured"
            )
            raise InputError(
                f"{why.removesuffix('; write it again or leave it out')}: source {source.id} is an evaluation set, "
                "which must be read whole, or its images stand in training; mend it, or take it out of the recipe"
            )

    def _check_columns(self, source: Source, rows: int) -> None:
        """InputError where a column that a rule goes by has no value in any row of the source."""
        receipts = {name: r for name, r in self.results.measured.items() if name[0] == source.id}
        there = {name for receipt in receipts.values() for name in receipt["extras"]}
        rules = self.recipe.rules_of(source)
        if rows and rules.clip and source.clip_score is not None and source.clip_score not in there:
            raise InputError(_no_score(source, [shard for _, shard in receipts]))
        for name in rules.columns.limits if rows and rules.columns else ():
            if name not in there:
                raise InputError(
                    f"source {source.id}: no row has a value in the column {name!r} that a rule goes by; name it as "
                    "the data writes it, in columns: {extra: […]} too, or switch the rule off for this source"
                )
        ledgers = members_of(self.recipe, self.results.measured)
        for sentence in notes(ledgers):
            self.reporter.say(sentence)
        check_unused(self.recipe, ledgers)

    def bad_shards(self) -> list[tuple[Name, str]]:
        """The damaged input shards, with what is wrong with each."""
        return [(name, receipt["bad"]) for name, receipt in self.results.measured.items() if receipt["bad"]]

    def _remove_strangers(self, receipts: Receipts, tasks: Sequence[Task]) -> None:
        """Remove what is left of shards that are no longer in the sources; a file may have no receipt."""
        rendered = Receipts(self.layout, "render")
        for name in rendered.strangers(tasks):
            rendered.forget(name)
        for name in receipts.strangers(tasks):
            Receipts(self.layout, "ground").forget(name)
            Receipts(self.layout, "compose").forget(name)
            receipts.forget(name)
        store = self.layout.store
        for kind in BY_SHARD:
            folder = join(self.layout.work, kind)
            for info in store.list_files(folder) if store.is_folder(folder) else ():
                if _name(info.name.rpartition(".")[0]) not in self.shards:
                    store.remove(info.path)

    def _identity(self, shard: InputShard) -> str:
        source = self.recipe.source(shard.source)
        if source.kind == "rendered":
            return self.layout.store.identity(shard.path)
        if source.kind == "annotations":
            return annotation_identity(source, Store(source.storage_options or None, source.id))
        return identity(shard, source.storage_options)

    def _shard_body(self, planned: Planned) -> Json:
        source = planned.stratum.source
        parts = [
            {**asdict(part), "input": self.shards[(source, part.shard)].to_json()} for part in planned.parts
        ]
        return {**asdict(planned.stratum), "name": planned.name, "shard": planned.name, "parts": parts}

    def _score_step(self) -> Step:
        """A step whose deadline is that of a batch, and whose memory is the model's business."""
        step = self._step("score", SCORE)
        scorers = self.recipe.clip.scorers.values() if self.recipe.clip else ()
        rows = max((scorer.batch_size for scorer in scorers), default=1)
        limits = replace(
            step.limits,
            row_cpu_seconds=step.limits.row_cpu_seconds * rows,
            row_wall_seconds=step.limits.row_wall_seconds * rows,
            memory_bytes=0,
            threads=max((scorer.threads for scorer in scorers), default=1),
        )
        return replace(step, limits=limits)

    def _ground_step(self) -> Step:
        """A step whose deadline and memory are the detector's business."""
        step = self._step("ground", GROUND)
        wanted = [source.ground.detector for source in self.recipe.sources if source.ground is not None]
        limits = replace(step.limits, memory_bytes=0, threads=max((one.threads for one in wanted), default=1))
        return replace(step, limits=limits)

    def _step(self, phase: str, worker: str) -> Step:
        setup: Json = {"recipe": self.recipe.to_json(), "layout": asdict(self.layout)}
        return Step(phase, worker, setup, self._limits(), self._resources(phase))

    def _limits(self) -> Limits:
        resources = self.recipe.resources
        return Limits(
            row_cpu_seconds=resources.row_cpu_seconds,
            row_wall_seconds=resources.row_wall_seconds,
            memory_bytes=int(resources.memory_gb * 1e9),
        )

    def _resources(self, phase: str) -> Resources:
        wanted = dict(self.recipe.resources.phases).get(phase)  # type: ignore[call-overload]
        if wanted is None:
            return Resources()
        return Resources(wanted.cpus, wanted.gpus, int(wanted.memory_gb * 1e9))


def _no_score(source: Source, shards: Sequence[str]) -> str:
    """The sentence for a source none of whose rows has the score that it should bring."""
    shown = shards[0] if len(shards) == 1 else f"{len(shards)} shards"
    return (
        f"source {source.id}: no row of {shown} has the score {source.clip_score!r}: wherever it is looked for it is "
        "null or no number; name it as the data writes it (clip_score: …, and in columns: {extra: […]})"
    )


def _name(text: str) -> Name:
    source, _, shard = text.partition("/")
    return source, shard


def read_json(layout: Layout, path: str) -> Json:
    """A small JSON file of the corpus."""
    return dict(json.loads(layout.store.read_bytes(path)))
