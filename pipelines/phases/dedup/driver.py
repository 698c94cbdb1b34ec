"""The order of the phase's steps. The driver holds names of files and counts, never rows."""

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from filters.hamming import block_masks
from filters.later import Phash
from pipelines.engines.step import Engine, Json, Step
from pipelines.files import join
from pipelines.phases.dedup.near import find_components
from pipelines.phases.dedup.plan import EVAL, EXACT, KINDS, PIXELS, DedupPlan, partitions_for
from pipelines.phases.dedup.signals import shard_tasks
from pipelines.phases.dedup.tables import Folder
from pipelines.receipts import fingerprint

if TYPE_CHECKING:
    from pipelines.build import Build

ENTRIES_A_PARTITION: Final = 8_000_000
SHARDS_A_PARTITION: Final = 64


def dedup(engine: Engine, plan: DedupPlan) -> Json:
    """Write work/clusters for every shard of the plan; {"shards", "memberships": {kind: count}}.

    The kind `eval` is counted where there are evaluation rows.

    Equal signals give equal files, whatever the engine, the partitions and the order of the shards.
    Raises InputError where a file of signals cannot be read.
    """
    return _Run(engine, plan).dedup()


class _Run:
    def __init__(self, engine: Engine, plan: DedupPlan) -> None:
        self._engine = engine
        self._plan = plan
        self._folder = Folder(plan.setup())
        self._tasks = list(shard_tasks(plan.shards))
        self._guards: list[str] = []
        self._further = self._listed() if plan.evaluation else []

    def dedup(self) -> Json:
        try:
            values, settled = self._equal_values()
            stars = self._stars(values)
            return self._members(values, stars, settled)
        finally:
            self._folder.store.remove_folder(self._plan.scratch)

    def _equal_values(self) -> tuple[list[Json], list[str]]:
        """Receipts of equal values, and what had to be settled before no cluster was torn."""
        worker = "values:EqualValues"
        values = self._shuffle(worker, self._tasks, round="first")
        self._guards = [receipt["guard"] for receipt in values if "guard" in receipt]
        if not any(receipt["torn"] for receipt in values):
            return values, []
        settled: list[str] = []
        for kind in (EXACT, PIXELS):
            receipts = self._shuffle("near:Agreement", self._tasks, kind=kind, settled=settled)
            settled = settled + [receipt["settled"] for receipt in receipts if receipt["changed"]]
        return self._shuffle(worker, self._tasks, round="second", settled=settled), settled

    def _stars(self, values: list[Json]) -> dict[str, str]:
        """The files of stars by partition of their values."""
        hashes = {str(r["partition"]): r["hashes"] for r in values if "hashes" in r}
        if not hashes or not self._plan.distance:
            return {}
        distinct = sum(receipt["distinct"] for receipt in values)
        tasks: list[Json] = [{"hashes": path} for path in hashes.values()]
        if distinct <= self._plan.alone:
            receipts = self._shuffle("near:StarsAlone", tasks, 1)
        else:
            receipts = self._spread_stars(tasks, distinct, hashes)
        return {partition: path for receipt in receipts for partition, path in receipt["stars"].items()}

    def _spread_stars(self, tasks: list[Json], distinct: int, hashes: dict[str, str]) -> list[Json]:
        entries = distinct * len(block_masks(self._plan.distance or 0, distinct))
        partitions = max(self._plan.partitions, -(-entries // ENTRIES_A_PARTITION))
        edges = self._shuffle("near:NearPairs", tasks, partitions, distinct=distinct)
        roots = find_components(self._shuffle, edges)
        labels = self._shuffle("near:Labels", [r for r in roots if r["edges"]], hashes=hashes)
        stars = self._shuffle("near:Stars", labels)
        return self._shuffle("near:StarsHome", stars)

    def _members(self, values: list[Json], stars: dict[str, str], settled: list[str]) -> Json:
        names = join(self._plan.scratch, "shards.parquet")
        columns = {name: pa.array([task[name] for task in self._tasks]) for name in ("source", "shard")}
        self._folder.write(names, pa.table(columns))
        tasks: list[Json] = [{"shards": len(self._tasks)}]
        for receipt in values:
            if "same" in receipt:
                tasks.append({"same": receipt["same"]})
            if "hashes" in receipt:
                tasks.append({"hashes": receipt["hashes"], "stars": stars.get(str(receipt["partition"]))})
        wanted = max(self._plan.partitions, -(-len(self._tasks) // SHARDS_A_PARTITION))
        groups = max(1, min(len(self._tasks), wanted))
        more = {"names": names, "settled": settled, "guards": self._guards}
        receipts = self._shuffle("members:Members", tasks, groups, **more)
        kinds = (*KINDS, EVAL) if self._guards else KINDS
        counts = {kind: sum(receipt["memberships"][kind] for receipt in receipts) for kind in kinds}
        return {"shards": len(self._tasks), "memberships": counts}

    def _listed(self) -> list[str]:
        """The shards with rows of several images, as source/shard."""
        store, folder = self._folder.store, join(self._plan.work, "further")
        found = store.list_files(folder) if store.is_folder(folder) else ()
        return [info.name.removesuffix(".parquet") for info in found]

    def _shuffle(
        self, worker: str, tasks: list[Json], partitions: int | None = None, **more: object
    ) -> list[Json]:
        """Receipts of a step: `worker` is module:Class in this package."""
        count = partitions or self._plan.partitions
        setup = self._plan.setup(into=count, **{"settled": [], "further": self._further, **more})
        step = Step(
            "dedup", f"pipelines.phases.dedup.{worker}", setup, self._plan.limits, self._plan.resources
        )
        return self._engine.shuffle(step, tasks, count)


def run(build: "Build") -> None:
    """Finds the clusters over all sources."""
    recipe = build.recipe
    phash = recipe.rules.get(Phash)
    distance = phash.distance if phash else None
    guard = [recipe.evaluation, recipe.eval_distance] if recipe.evaluation else []
    marks = sorted([*name, mark] for name, mark in build.fingerprints["measure"].items())

    def work() -> Json:
        plan = DedupPlan(
            work=build.layout.work,
            scratch=join(build.layout.exchange, "dedup"),
            shards=tuple(build.shards),
            distance=distance,
            evaluation=recipe.evaluation,
            eval_distance=recipe.eval_distance,
            partitions=partitions_for(build.rows),
            options=build.layout.options or None,
            limits=build.limits,
            resources=build.resources("dedup"),
        )
        receipt = dedup(build.engine, plan)
        build.reporter.task({})
        return receipt

    build.whole("dedup", fingerprint("dedup", 2, distance, guard, marks), work)
