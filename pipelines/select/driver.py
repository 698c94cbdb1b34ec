"""The driver of phase select."""

from collections.abc import Sequence
from dataclasses import asdict

from pipelines.engines.step import Engine, Json, Limits, Resources, Step
from pipelines.files import join
from pipelines.layout import Layout
from schemas.recipe import Recipe

CONTEST = "pipelines.select.contest:Contest"
DECIDE = "pipelines.select.decide:Decide"


def select(
    engine: Engine,
    recipe: Recipe,
    layout: Layout,
    shards: Sequence[tuple[str, str]],
    partitions: int,
    *,
    repeats: bool = True,
    write: bool = True,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    resources: Resources = Resources(),  # noqa: B008 - frozen
) -> list[Json]:
    """One part of the funnel for each of the (source, shard) given, in sorted order.

    `repeats` False says that dedup found no two rows of one key. `write` False decides without
    writing. What passes between the rounds lies below work/tmp.
    """
    scratch = join(layout.work, "exchange", "select")
    tasks: list[Json] = [
        {"number": number, "source": source, "shard": shard}
        for number, (source, shard) in enumerate(sorted(shards))
    ]
    setup: Json = {
        "recipe": recipe.model_dump(mode="json"),
        "layout": asdict(layout),
        "scratch": scratch,
        "partitions": partitions,
        "write": write,
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
