"""Phase select: the recipe's thresholds over the signals; then one keeper a cluster; then the split.

removed  map: which rows a list removes, where the corpus has one
judging  map: which rules each row fails; small shards are judged many at a time, from here on to the end
keepers  shuffle by cluster, once for repeats and once for images: who loses to a better duplicate; then a shuffle
         by shard, which brings the losers home
semantic shuffle by cell of k-means, where the rule is on: who loses to a better row with a like embedding
winners  shuffle by key, after each round that follows another: who stays where a winner lost too
captions shuffle by cluster of captions, where the rule is on: which rows are beyond the cap
decide   map: one decision for every row of every shard
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from filters.corpus_rules import MaxPerCaption, Semantic
from filters.rules import REMOVED
from pipelines.engines.step import Engine, Json, Limits, Resources, Step, named
from pipelines.files import join
from pipelines.layout import Layout, Name, in_order, text_of
from pipelines.phases.dedup.driver import partitions_for
from pipelines.phases.dedup.signals import group_tasks
from pipelines.phases.select import semantic
from pipelines.phases.select.captions import CAPPED
from pipelines.phases.select.cuts import places
from pipelines.phases.select.keepers import Homes, home_starts
from pipelines.phases.select.matches import match
from pipelines.phases.select.semantic import ALIKE, beaten, centres
from pipelines.phases.table import phase
from pipelines.receipts import fingerprint, packed
from pipelines.recipe.model import Recipe
from pipelines.sources.table import KINDS
from pipelines.steps import Steps, in_steps
from schemas.plain import many

if TYPE_CHECKING:
    from pipelines.build import Build

JUDGING = "pipelines.phases.select.candidates:Judging"
CUTS = "pipelines.phases.select.cuts:Cuts"
CONTEST = "pipelines.phases.select.keepers:Contest"
CAPS = "pipelines.phases.select.captions:Caps"
HOME = "pipelines.phases.select.keepers:Home"
SETTLE = "pipelines.phases.select.winners:Settle"

_UNSEEN = {
    "path",
    "files",
    "images",
    "render",
    "storage_options",
    "max_quarantine",
    "max_unused",
    "origin",
    "licence",
    "ground",
    "chat",
}
"""Settings of a source that no decision depends on."""


@dataclass(frozen=True)
class SelectPlan:
    """The settings of one run; `recipe`, `scored`, `repeats` and `removed` have a say in its results.

    `scored` are the receipts of phase score. `rows` says how many rows each shard has: without, each is a task of its
    own, and a home is bounded by its shards alone. `repeats` False says that dedup found no two rows of one key.
    `removed` is the file of the rows that the list names (removed.py). `write` False decides without writing.
    `steps` is the folder of what passes between the rounds where it outlives the run (pipelines/steps.py).
    """

    recipe: Recipe
    layout: Layout
    shards: Sequence[Name]
    partitions: int
    scored: Mapping[Name, Json]
    rows: Mapping[Name, int] = field(default_factory=dict)
    repeats: bool = True
    removed: str | None = None
    write: bool = True
    steps: str | None = None
    limits: Limits = field(default_factory=Limits)
    resources: Resources = field(default_factory=Resources)

    @property
    def scratch(self) -> str:
        """The folder of what passes between the rounds."""
        return self.steps or join(self.layout.exchange, "select")

    def setup(self) -> Json:
        """Returns the settings that every worker gets."""
        return {
            "recipe": self.recipe.to_json(),
            "layout": asdict(self.layout),
            "scratch": self.scratch,
            "partitions": self.partitions,
            "write": self.write,
            "removed": self.removed,
        }


def select(engine: Engine, plan: SelectPlan) -> list[Json]:
    """Returns one part of the funnel for each of the shards, in sorted order."""
    recipe, partitions = plan.recipe, plan.partitions
    rounds = _Rounds(engine, plan)
    try:
        rounds.judge()
        rounds.cut({group: asdict(place) for group, place in places(recipe, plan.scored).items()})
        for name in ("repeat", "picture") if plan.repeats else ("picture",):
            rounds.lost(name, rounds.shuffle(CONTEST, partitions, round=name))
        if recipe.rules.get(Semantic):
            rounds.semantic(semantic.plan(recipe, plan.scored))
        if recipe.rules.get(MaxPerCaption):
            rounds.capped(rounds.shuffle(CAPS, partitions))
        # two at once would blank the texts of removed rows below each other's reading
        last = replace(rounds.step(phase("select").worker), twice=plan.removed is None)
        receipts = engine.map(last, rounds.tasks)
        return [one for receipt in receipts for one in receipt["shards"]]
    finally:
        if plan.steps is None:
            plan.layout.store.remove_folder(plan.scratch)


class _Rounds:
    """The rounds in which rows lose, one after the other; each step knows what the rounds before it found."""

    def __init__(self, engine: Engine, plan: SelectPlan) -> None:
        starts = home_starts([plan.rows.get(name, 0) for name in in_order(plan.shards)])
        self.tasks = group_tasks(plan.shards, plan.rows, Homes(starts).of)
        self._engine, self._plan = engine, plan
        self._setup = plan.setup() | {"starts": starts, "capped": []}
        self._homes: dict[str, list[int]] = {}

    def step(self, worker: str, **more: object) -> Step:
        setup = {**self._setup, "homes": self._homes, **more}
        return Step("select", worker, setup, self._plan.limits, self._plan.resources)

    def judge(self) -> None:
        """Has the rules over signals judged: from then on, tasks name the files of what was found."""
        receipts = self._engine.map(self.step(JUDGING), self.tasks)
        self.tasks = [
            {name: task[name] for name in ("number", "source", "shards")} | {"judged": receipt["judged"]}
            for task, receipt in zip(self.tasks, receipts, strict=True)
        ]

    @property
    def _judged(self) -> list[Json]:
        """The tasks of steps that read nothing of the shards themselves, so need no digests of their files."""
        return [{name: task[name] for name in ("number", "source", "judged")} for task in self.tasks]

    def shuffle(self, worker: str, partitions: int, **more: object) -> list[Json]:
        """The receipts of a shuffle of all shards."""
        return self._engine.shuffle(self.step(worker, **more), self._judged, partitions)

    def cut(self, found: Mapping[str, Json]) -> None:
        """Finds the scores at which shares of rows are cut off, given where each group's cut lies."""
        cuts = self.shuffle(CUTS, len(found), places=found) if found else []
        self._setup["cuts"] = {receipt["group"]: receipt for receipt in cuts}

    def lost(self, name: str, receipts: list[Json]) -> None:
        """Takes in the losers of a round."""
        known = any(self._homes.values())
        self._homes = {**self._homes, name: self._home(name, receipts, "losers")}
        if known and self._homes[name]:
            homes = sorted({number for numbers in self._homes.values() for number in numbers})
            self._settle(name, [{"home": number} for number in homes])

    def semantic(self, more: Json) -> None:
        """Takes in the losers of both splits into cells; the first keeps no more than the rule's share."""
        for number, path in enumerate(centres(self._engine, self.step, self.tasks, more)):
            name = f"{ALIKE}-{number}"
            split = {"cells": more["cells"], "centres": path, "keeps": number == 0, "round": name}
            like = beaten(self._engine, self.step, self.tasks, self._plan.partitions, split)
            self.lost(name, like)

    def capped(self, receipts: list[Json]) -> None:
        """Takes in the rows beyond the cap on captions."""
        self._setup["capped"] = self._home(CAPPED, receipts, "caps")
        if self._setup["capped"] and any(self._homes.values()):
            self._settle(CAPPED, self._judged)

    def _settle(self, name: str, tasks: list[Json]) -> None:
        """Finds out who stays where those who beat others lost in this round."""
        name = f"settled-{name}"
        receipts = self._engine.shuffle(self.step(SETTLE, round=name), tasks, self._plan.partitions)
        self._homes = {**self._homes, name: self._home(name, receipts, "winners")}

    def _home(self, name: str, receipts: list[Json], brings: str) -> list[int]:
        """The numbers of the files in which the rows that a round found lie by shard."""
        found = [receipt for receipt in receipts if receipt]
        if not found:
            return []
        step = self.step(HOME, round=name, brings=brings)
        homes = self._engine.shuffle(step, found, len(self._setup["starts"]))
        return [receipt["home"] for receipt in homes]


def run(build: "Build") -> None:
    """Decides on every row."""
    build.removed.keep(build.layout)
    shards = in_order(build.shards)
    settings = build.settled.model_dump(
        mode="json",
        include={"seed", "languages", "rules", "captions", "splits", "sources"},
        exclude={"sources": {"__all__": _UNSEEN}},
    )
    scores = sorted([*name, mark] for name, mark in build.fingerprints["score"].items())
    listed = [build.removed.digest()] if build.removed else []
    mark = fingerprint("select", 5, settings, *build.fingerprints["dedup"].values(), scores, *listed)

    def work(steps: Steps) -> Json:
        unmatched, receipts = _decide(build, steps)
        if build.removed:
            named("pipelines.phases.fetch.hidden:hide")(build)
        for receipt in receipts:
            build.reporter.task(receipt)
        return {"unmatched": unmatched, "shards": dict(zip(map(text_of, shards), receipts, strict=True))}

    receipt = in_steps(build, "select", mark, work, len(shards))
    build.results["select"] = packed(receipt.pop("shards"))
    if build.removed:
        build.reporter.say(_removed_text(build, receipt["unmatched"]))


def _removed_text(build: "Build", unmatched: int) -> str:
    """How many rows the list removes, and how many of its values name no row."""
    rows = sum(receipt["reasons"].get(REMOVED, 0) for receipt in build.results["select"].values())
    annotated = any(KINDS[source.kind].annotated for source in build.recipe.sources)
    hint = ""
    if unmatched and annotated and "id" in build.removed.by_column():
        hint = (
            " (an id is a row's: of annotations that of a caption, question, region or image; the column member of "
            "work/annotations names the row of an object or phrase)"
        )
    return (
        f"the list of removed rows has {many(len(build.removed), 'value')}: rows removed: {rows:,}, values that match "
        f"no row: {unmatched:,}{hint}"
    )


def rehearse(build: "Build") -> dict[Name, Json]:
    """Returns what `run` would decide, shard by shard; writes nothing but the list, for the workers."""
    build.removed.keep(build.layout)
    return dict(zip(in_order(build.shards), _decide(build, None)[1], strict=True))


def _decide(build: "Build", steps: Steps | None) -> tuple[int, list[Json]]:
    """How many values of the list name no row, and the part of the funnel of each shard; None for `steps`: a rehearsal.

    Nothing of a rehearsal is written, nor are its steps kept.
    """
    (clusters,) = build.results["dedup"].values()
    engine = steps or build.engine
    scratch = join(steps.folder if steps else build.layout.exchange, "removed")
    try:
        path, unmatched = match(engine, build, scratch) if build.removed else (None, 0)
        plan = SelectPlan(
            build.settled,
            build.layout,
            in_order(build.shards),
            partitions_for(build.rows),
            build.results["score"],
            build.rows_of,
            repeats=clusters["memberships"]["repeat"] > 0,
            removed=path,
            write=steps is not None,
            steps=steps.folder if steps else None,
            limits=build.limits,
            resources=build.resources("select"),
        )
        return unmatched, select(engine, plan)
    finally:
        if steps is None:
            build.layout.store.remove_folder(scratch)
