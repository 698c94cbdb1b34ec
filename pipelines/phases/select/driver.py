"""Phase select: the recipe's thresholds over the signals; then one keeper a cluster; then the split.

removed  map: which rows a list removes, where the corpus has one
keepers  shuffle by cluster, once for repeats and once for images: who loses to a better duplicate; then a shuffle
         by shard, which brings the losers home
semantic shuffle by cell of k-means, where the rule is on: who loses to a better row with a like embedding
captions shuffle by cluster of captions, where the rule is on: which rows are beyond the cap
decide   map: one decision for every row of every shard
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from filters.corpus_rules import MaxPerCaption, Semantic
from filters.rules import REMOVED
from pipelines.engines.step import Engine, Json, Limits, Resources, Step, named
from pipelines.files import join
from pipelines.layout import Layout, Name, name_of, text_of
from pipelines.phases.dedup.driver import partitions_for
from pipelines.phases.dedup.signals import shard_tasks
from pipelines.phases.select.captions import CAPPED
from pipelines.phases.select.cuts import places
from pipelines.phases.select.keepers import home_of
from pipelines.phases.select.matches import match
from pipelines.phases.select.semantic import ALIKE, beaten, plan
from pipelines.phases.table import phase
from pipelines.receipts import fingerprint
from pipelines.recipe.model import Recipe
from schemas.plain import many

if TYPE_CHECKING:
    from pipelines.build import Build

CUTS = "pipelines.phases.select.cuts:Cuts"
CONTEST = "pipelines.phases.select.keepers:Contest"
CAPS = "pipelines.phases.select.captions:Caps"
HOME = "pipelines.phases.select.keepers:Home"

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


def select(
    engine: Engine,
    recipe: Recipe,
    layout: Layout,
    shards: Sequence[Name],
    partitions: int,
    *,
    scored: Mapping[Name, Json],
    repeats: bool = True,
    removed: str | None = None,
    write: bool = True,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    resources: Resources = Resources(),  # noqa: B008 - frozen
) -> list[Json]:
    """One part of the funnel for each of the (source, shard) given, in sorted order.

    `scored` are the receipts of phase score. `repeats` False says that dedup found no two rows of one
    key. `removed` is the file of the rows that the list names (removed.py). `write` False decides without writing.
    What passes between the rounds lies below work/exchange.
    """
    scratch = join(layout.exchange, "select")
    setup: Json = {"recipe": recipe.to_json(), "layout": asdict(layout), "scratch": scratch}
    setup |= {"partitions": partitions, "write": write, "removed": removed}
    tasks = shard_tasks(shards)

    def step(worker: str, **more: object) -> Step:
        return Step("select", worker, {**setup, **more}, limits, resources)

    def home(name: str, receipts: list[Json]) -> list[int]:
        """The numbers of the files in which the rows that a round found lie by shard."""
        found = [receipt for receipt in receipts if receipt]
        homes = engine.shuffle(step(HOME, round=name), found, home_of(len(tasks)) + 1) if found else []
        return [receipt["home"] for receipt in homes]

    homes: dict[str, list[int]] = {}
    try:
        found = {group: asdict(place) for group, place in places(recipe, scored).items()}
        cuts = engine.shuffle(step(CUTS, places=found), tasks, len(found)) if found else []
        setup["cuts"] = {receipt["group"]: receipt for receipt in cuts}
        for name in ("repeat", "picture") if repeats else ("picture",):
            receipts = engine.shuffle(step(CONTEST, round=name, homes=homes), tasks, partitions)
            homes = homes | {name: home(name, receipts)}
        if recipe.rules.get(Semantic):
            like = beaten(engine, partial(step, homes=homes), tasks, partitions, plan(recipe, scored))
            homes = homes | {ALIKE: home(ALIKE, like)}
        capped: list[int] = []
        if recipe.rules.get(MaxPerCaption):
            capped = home(CAPPED, engine.shuffle(step(CAPS, homes=homes), tasks, partitions))
        return engine.map(step(phase("select").worker, homes=homes, capped=capped), tasks)
    finally:
        layout.store.remove_folder(scratch)


def run(build: "Build") -> None:
    """Decides on every row."""
    build.removed.keep(build.layout)
    shards = sorted(build.shards)
    settings = build.settled.model_dump(
        mode="json",
        include={"seed", "languages", "rules", "captions", "splits", "sources"},
        exclude={"sources": {"__all__": _UNSEEN}},
    )
    scores = sorted([*name, mark] for name, mark in build.fingerprints["score"].items())
    listed = [build.removed.digest()] if build.removed else []
    mark = fingerprint("select", 4, settings, *build.fingerprints["dedup"].values(), scores, *listed)

    def work() -> Json:
        unmatched, receipts = _decide(build, write=True)
        if build.removed:
            named("pipelines.phases.fetch.hidden:hide")(build)
        for receipt in receipts:
            build.reporter.task(receipt)
        return {"unmatched": unmatched, "shards": dict(zip(map(text_of, shards), receipts, strict=True))}

    receipt = build.whole("select", mark, work, len(shards))
    build.results["select"] = {name_of(name): one for name, one in receipt["shards"].items()}
    if build.removed:
        build.reporter.say(_removed_text(build, receipt["unmatched"]))


def _removed_text(build: "Build", unmatched: int) -> str:
    """How many rows the list removes, and how many of its values name no row."""
    rows = sum(receipt["reasons"].get(REMOVED, 0) for receipt in build.results["select"].values())
    return (
        f"the list of removed rows has {many(len(build.removed), 'value')}: rows removed: {rows:,}, values that match "
        f"no row: {unmatched:,}"
    )


def rehearse(build: "Build") -> dict[Name, Json]:
    """Returns what `run` would decide, shard by shard; writes nothing but the list, for the workers."""
    build.removed.keep(build.layout)
    return dict(zip(sorted(build.shards), _decide(build, write=False)[1], strict=True))


def _decide(build: "Build", write: bool) -> tuple[int, list[Json]]:
    """How many values of the list name no row, and the part of the funnel of each shard."""
    (clusters,) = build.results["dedup"].values()
    scratch = join(build.layout.exchange, "removed")
    try:
        path, unmatched = match(build, scratch) if build.removed else (None, 0)
        return unmatched, select(
            build.engine,
            build.settled,
            build.layout,
            sorted(build.shards),
            partitions_for(build.rows),
            scored=build.results["score"],
            repeats=clusters["memberships"]["repeat"] > 0,
            removed=path,
            write=write,
            limits=build.limits,
            resources=build.resources("select"),
        )
    finally:
        build.layout.store.remove_folder(scratch)
