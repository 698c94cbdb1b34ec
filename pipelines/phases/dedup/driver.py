"""Phase dedup: which rows belong together, over all sources.

Reads work/signals, writes work/clusters; keeps no row and drops none. Four kinds, from fine to coarse: `repeat`
(equal key), `exact` (equal bytes), `pixels` (equal decoded image), `phash` (64-bit hashes within a Hamming distance
of a cluster's centre, and sketches that agree with the centre's). A fifth, `caption`, has rows of one caption where the
rule max_per_caption is on.

Values travel, not rows: a shard gives each value once, with its smallest key, the number of its rows and the first
of them; the cluster of that value comes back to the shard. So a million blank images are one value a shard, and no
process holds anything in proportion to the rows of the corpus. This module, the driver, holds names of files and
counts.

    values   shuffle by value: clusters of equal values; the distinct perceptual hashes. Where images of equal bytes
             or pixels were measured to differ, they settle on one value first
    near     pairs of hashes within the distance -> components; sketches of the images in them -> stars
    captions  clusters of captions, equal or nearly so
    members  shuffle by shard: one file of memberships for every file of signals
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from filters import minhash
from filters.corpus_rules import MaxPerCaption, Phash
from filters.hamming import block_masks
from pipelines.engines.exchange import FAN
from pipelines.engines.step import Engine, Json, Limits, Resources, Step
from pipelines.files import join
from pipelines.layout import Layout, Name, text_of
from pipelines.phases.dedup.captions import find_captions
from pipelines.phases.dedup.members import kinds_of
from pipelines.phases.dedup.near import find_components
from pipelines.phases.dedup.signals import EXACT, PIXELS, group_tasks, shard_tasks
from pipelines.phases.dedup.tables import Folder
from pipelines.receipts import fingerprint
from pipelines.steps import Steps, in_steps

if TYPE_CHECKING:
    from pipelines.build import Build

LARGEST_DISTANCE: Final = 16
"""Beyond it unlike images meet by chance and blocks of equal bits tell nothing apart."""
VALUES_A_PARTITION: Final = 4_000_000
SHARDS_A_PARTITION: Final = 64
ROWS_A_PARTITION: Final = 500_000


def partitions_for(rows: int) -> int:
    """So many partitions that a worker needs about 300 MB for one, whatever the number of rows."""
    return max(1, -(-rows // ROWS_A_PARTITION))


@dataclass(frozen=True)
class DedupPlan:
    """The settings of one run; only `shards`, the distances and `evaluation` have a say in its results.

    `shards` are those with a file in work/signals, in any order. `distance` None leaves perceptual hashes out; `turned`
    finds turned and mirrored images as well. `captions` names the sources whose captions are compared;
    `similarity` says from where on two are one. Up to `alone` distinct hashes are compared by one
    worker; more are spread. `rows` says how many rows each shard has: without, none is taken for small.
    `evaluation` names the sources with evaluation rows: True where all rows are, False where the dataset's own
    splits say which; `eval_distance` says how near a training image may not come to theirs, whatever `distance` is.
    `steps` is the folder of what passes between steps where it outlives the run (pipelines/steps.py).
    """

    layout: Layout
    shards: tuple[Name, ...]
    distance: int | None = 4
    turned: bool = False
    captions: frozenset[str] = frozenset()
    similarity: float = 1.0
    evaluation: Mapping[str, bool] = field(default_factory=dict)
    eval_distance: int = 4
    rows: Mapping[Name, int] = field(default_factory=dict)
    partitions: int = 1
    alone: int = 1_000_000
    steps: str | None = None
    limits: Limits = field(default_factory=Limits)
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        for distance in (self.distance, self.eval_distance):
            if distance is not None and not 0 <= distance <= LARGEST_DISTANCE:
                raise ValueError(f"distance must be 0 to {LARGEST_DISTANCE}, not {distance}")
        if self.partitions < 1 or self.alone < 0:
            raise ValueError("partitions must be at least 1 and alone at least 0")

    @property
    def scratch(self) -> str:
        """The folder of what passes between steps."""
        return self.steps or join(self.layout.exchange, "dedup")

    def setup(self, **more: Any) -> Json:
        """The settings that every worker gets; `partitions` are those of values, `more` is a step's own."""
        return {
            "layout": asdict(self.layout),
            "scratch": self.scratch,
            "distance": self.distance,
            "turned": self.turned,
            "evaluation": dict(self.evaluation),
            "eval_distance": self.eval_distance,
            "partitions": self.partitions,
            **more,
        }


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
        self._tasks = shard_tasks(plan.shards)
        self._groups = group_tasks(plan.shards, plan.rows)
        self._names = join(plan.scratch, "shards.parquet")
        self._guards: list[str] = []
        # shards with rows of several images
        self._further = (
            [text_of(name) for name, _ in plan.layout.listed("further")] if plan.evaluation else []
        )

    def dedup(self) -> Json:
        try:
            columns = {name: pa.array([task[name] for task in self._tasks]) for name in ("source", "shard")}
            self._folder.write(self._names, pa.table(columns), scratch=True)
            values, last = self._equal_values()
            self._guards = [receipt["guard"] for receipt in values if "guard" in receipt]
            stars = self._stars(values)
            return self._members(values, stars, last, self._captions())
        finally:
            if self._plan.steps is None:
                self._folder.store.remove_folder(self._plan.scratch)

    def _equal_values(self) -> tuple[list[Json], str]:
        """Receipts of equal values, and the round that made them: the second where clusters were torn in the first."""
        worker = "values:EqualValues"
        values = self._shuffle(worker, self._groups, round="first")
        if not any(receipt["torn"] for receipt in values):
            return values, "first"
        settled: list[str] = []
        for kind in (EXACT, PIXELS):
            receipts = self._shuffle("values:Agreement", self._groups, kind=kind, settled=settled)
            settled = settled + [receipt["settled"] for receipt in receipts if receipt["changed"]]
        return self._shuffle(worker, self._groups, round="second", settled=settled), "second"

    def _stars(self, values: list[Json]) -> dict[str, str]:
        """The files of stars by partition of their values."""
        found = [receipt for receipt in values if "hashes" in receipt or "turned" in receipt]
        if not found:
            return {}
        distinct = sum(receipt["distinct"] for receipt in values)
        alone = distinct <= self._plan.alone
        labels = self._near_alone(found) if alone else self._near_spread(found, distinct)
        tasks: list[Json] = [{"path": receipt["path"]} for receipt in labels if receipt["rows"]]
        if not tasks:
            return {}
        sketches = self._shuffle("near:Sketches", tasks, names=self._names)
        stars = self._shuffle("near:Stars", sketches, 1 if alone else None)
        if not all("stars" in receipt for receipt in stars):
            stars = self._shuffle("near:StarsHome", stars)
        return {partition: path for receipt in stars for partition, path in receipt["stars"].items()}

    def _near_alone(self, found: list[Json]) -> list[Json]:
        tasks: list[Json] = [{"hashes": r.get("hashes"), "turned": r.get("turned")} for r in found]
        return self._shuffle("near:NearAlone", tasks, 1)

    def _near_spread(self, found: list[Json], distinct: int) -> list[Json]:
        masks = len(block_masks(self._plan.distance or 0, distinct))
        slices = -(-distinct // VALUES_A_PARTITION)
        hashes = {str(receipt["partition"]): receipt["hashes"] for receipt in found if "hashes" in receipt}
        own: list[Json] = [{"hashes": path} for path in hashes.values()]
        turned: list[Json] = [{"turned": receipt["turned"]} for receipt in found if "turned" in receipt]
        more = {"distinct": distinct, "slices": slices}
        edges: list[Json] = []
        # hashes travel once a mask: some masks at a time, so that little of this lies on the disk at once
        at_once = max(1, FAN // slices)
        for first in range(0, masks, at_once):
            count = min(at_once, masks - first) * slices
            edges += self._shuffle("near:NearPairs", own + turned, count, first=first, **more)
        roots = find_components(
            self._shuffle, edges + [receipt["ties"] for receipt in found if "ties" in receipt]
        )
        return self._shuffle("near:Labels", [r for r in roots if r["edges"]] + own, hashes=hashes)

    def _captions(self) -> dict[str, str]:
        """The files of clusters of captions by partition of the shards."""
        tasks = [task for task in self._tasks if task["source"] in self._plan.captions]
        if not tasks:
            return {}
        scratch = join(self._plan.scratch, "captions")

        def shuffle(
            worker: str, tasks: list[Json], partitions: int | None = None, **more: object
        ) -> list[Json]:
            return self._shuffle(worker, tasks, partitions, scratch=scratch, names=self._names, **more)

        found = find_captions(shuffle, tasks, self._plan.similarity, self._plan.partitions, self._homes)
        return {str(receipt["partition"]): receipt["path"] for receipt in found}

    @property
    def _homes(self) -> int:
        """Into how many groups of shards memberships are brought home."""
        wanted = max(self._plan.partitions, -(-len(self._tasks) // SHARDS_A_PARTITION))
        return max(1, min(len(self._tasks), wanted))

    def _members(
        self, values: list[Json], stars: dict[str, str], last: str, captions: dict[str, str]
    ) -> Json:
        tasks: list[Json] = [{"shards": len(self._tasks)}]
        for receipt in values:
            if "same" in receipt:
                tasks.append({"same": receipt["same"]})
            if "hashes" in receipt:
                star = stars.get(str(receipt["partition"]))
                tasks.append({"hashes": receipt["hashes"], "further": receipt.get("further"), "stars": star})
            if self._guards and "asides" in receipt:
                tasks.append({"asides": receipt["asides"]})
        more = {"names": self._names, "round": last, "guards": self._guards, "captions": captions}
        receipts = self._shuffle("members:Members", tasks, self._homes, **more)
        kinds = kinds_of(bool(self._guards), bool(captions))
        counts = {kind: sum(receipt["memberships"][kind] for receipt in receipts) for kind in kinds}
        return {"shards": len(self._tasks), "memberships": counts}

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
    turned = bool(phash and phash.turned)
    cap = recipe.rules.get(MaxPerCaption)
    captions = frozenset(one.id for one in recipe.sources if recipe.rules_of(one).get(MaxPerCaption))
    caption = [sorted(captions), cap.similarity, minhash.VERSION] if cap else []
    guard = [recipe.evaluation, recipe.eval_distance] if recipe.evaluation else []
    marks = sorted([*name, mark] for name, mark in build.fingerprints["measure"].items())

    def work(steps: Steps) -> Json:
        plan = DedupPlan(
            layout=build.layout,
            shards=tuple(build.shards),
            distance=distance,
            turned=turned,
            captions=captions,
            similarity=cap.similarity if cap else 1.0,
            evaluation=recipe.evaluation,
            eval_distance=recipe.eval_distance,
            rows=build.rows_of,
            partitions=partitions_for(build.rows),
            steps=steps.folder,
            limits=build.limits,
            resources=build.resources("dedup"),
        )
        receipt = dedup(steps, plan)
        build.reporter.task({})
        return receipt

    in_steps(build, "dedup", fingerprint("dedup", 4, distance, turned, caption, guard, marks), work)
