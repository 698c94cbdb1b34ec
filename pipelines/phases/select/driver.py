"""The driver of phase select."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pipelines.engines.step import Engine, Json, Limits, Resources, Step
from pipelines.files import join
from pipelines.layout import Layout
from pipelines.phases.select.cuts import places
from pipelines.recipe.model import Recipe

CUTS = "pipelines.phases.select.cuts:Cuts"
CONTEST = "pipelines.phases.select.keepers:Contest"
DECIDE = "pipelines.phases.select.decide:Decide"


def select(
    engine: Engine,
    recipe: Recipe,
    layout: Layout,
    shards: Sequence[tuple[str, str]],
    partitions: int,
    *,
    scored: Mapping[tuple[str, str], Json],
    repeats: bool = True,
    write: bool = True,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    resources: Resources = Resources(),  # noqa: B008 - frozen
) -> list[Json]:
    """One part of the funnel for each of the (source, shard) given, in sorted order.

    `scored` are the receipts of phase score. `repeats` False says that dedup found no two rows of one
    key. `write` False decides without writing. What passes between the rounds lies below work/exchange.
    """
    scratch = join(layout.exchange, "select")
    tasks: list[Json] = [
        {"number": number, "source": source, "shard": shard}
        for number, (source, shard) in enumerate(sorted(shards))
    ]
    setup: Json = {
        "recipe": recipe.to_json(),
        "layout": asdict(layout),
        "scratch": scratch,
        "partitions": partitions,
        "write": write,
        "cuts": _cuts(engine, recipe, layout, tasks, scored, limits, resources),
    }
    lost: list[str] = []
    try:
        for name in ("repeat", "picture") if repeats else ("picture",):
            step = Step("select", CONTEST, {**setup, "round": name, "lost": lost}, limits, resources)
            receipts = engine.shuffle(step, tasks, partitions)
            lost = lost + [receipt["path"] for receipt in receipts if receipt]
        step = Step("select", DECIDE, {**setup, "lost": lost}, limits, resources)
        return engine.map(step, tasks)
    finally:
        layout.store.remove_folder(scratch)


def _cuts(
    engine: Engine,
    recipe: Recipe,
    layout: Layout,
    tasks: Sequence[Json],
    scored: Mapping[tuple[str, str], Json],
    limits: Limits,
    resources: Resources,
) -> dict[str, Json]:
    """The cuts of all `keep` thresholds, by group."""
    found = places(recipe, scored)
    if not found:
        return {}
    setup: Json = {
        "recipe": recipe.to_json(),
        "layout": asdict(layout),
        "places": {name: asdict(place) for name, place in found.items()},
    }
    receipts = engine.shuffle(Step("select", CUTS, setup, limits, resources), tasks, len(found))
    return {receipt["group"]: receipt for receipt in receipts}
