"""What a run of the dedup phase is told, and where its files lie."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipelines.engines.step import Json, Limits, Resources
from pipelines.files import join

KINDS: Final = ("repeat", "exact", "pixels", "phash")
"""From fine to coarse; a kind's number in the shuffles is its place here."""
REPEAT, EXACT, PIXELS, PHASH = range(4)
EVAL: Final = "eval"
"""The kind of a training row that shows an evaluation row's image: no cluster, but a pair."""

LARGEST_DISTANCE: Final = 16
"""Beyond it unlike pictures meet by chance and blocks of equal bits tell nothing apart."""
ROWS_A_PARTITION: Final = 500_000


def partitions_for(rows: int) -> int:
    """So many partitions that a worker needs about 300 MB for one, whatever the number of rows."""
    return max(1, -(-rows // ROWS_A_PARTITION))


@dataclass(frozen=True)
class DedupPlan:
    """The settings of one run; only `shards`, the distances and `evaluation` have a say in its results.

    `work` is the corpus's work folder and `shards` all (source, shard) with a file in work/signals, in
    any order. `scratch` is an empty folder for what passes between steps, which every worker can
    reach; it is removed at the end. `distance` None leaves perceptual hashes out. Up to `alone`
    distinct hashes are compared by one worker; more are spread. `evaluation` names the sources with
    evaluation rows: True where all rows are, False where the dataset's own splits say which;
    `eval_distance` says how near a training image may not come to theirs, whatever `distance` is.
    """

    work: str
    scratch: str
    shards: tuple[tuple[str, str], ...]
    distance: int | None = 4
    evaluation: Mapping[str, bool] = field(default_factory=dict)
    eval_distance: int = 4
    partitions: int = 1
    alone: int = 1_000_000
    options: Mapping[str, Any] | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        for distance in (self.distance, self.eval_distance):
            if distance is not None and not 0 <= distance <= LARGEST_DISTANCE:
                raise ValueError(f"distance must be 0 to {LARGEST_DISTANCE}, not {distance}")
        if self.partitions < 1 or self.alone < 0:
            raise ValueError("partitions must be at least 1 and alone at least 0")

    def setup(self, **more: Any) -> Json:
        """The settings that every worker gets; `partitions` are those of values, `more` is a step's own."""
        options = dict(self.options) if self.options else None
        return {
            "work": self.work,
            "scratch": self.scratch,
            "distance": self.distance,
            "evaluation": dict(self.evaluation),
            "eval_distance": self.eval_distance,
            "partitions": self.partitions,
            "options": options,
            **more,
        }


def signals_path(work: str, source: str, shard: str) -> str:
    """Where the signals of a shard lie."""
    return join(work, "signals", source, f"{shard}.parquet")


def further_path(work: str, source: str, shard: str) -> str:
    """Where the images of a shard's rows beside their first lie, if there are any."""
    return join(work, "further", source, f"{shard}.parquet")


def clusters_path(work: str, source: str, shard: str) -> str:
    """Where the memberships of a shard's rows lie."""
    return join(work, "clusters", source, f"{shard}.parquet")
