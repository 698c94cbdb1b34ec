"""Connected components of the near pairs, by one worker where they are few and by many where not."""

from collections.abc import Iterator
from typing import Final, Protocol

import pyarrow as pa

from filters.clusters import forest, large_star, small_star
from filters.hamming import U64, Edges
from pipelines.dedup.near import saved_edges
from pipelines.dedup.tables import Folder, columns_of, joined, spread
from pipelines.engines.step import At, Json

ALONE: Final = 4_000_000
"""So many edges are left to one worker (about 500 MB)."""
MOST_ROUNDS: Final = 64


class Shuffle(Protocol):
    """Runs a step of the phase: its worker, tasks, partitions (None: the plan's), further settings."""

    def __call__(self, worker: str, tasks: list[Json], partitions: int | None, **more: object) -> list[Json]:
        """Receipts of the partitions that hold rows."""


class Components:
    """Shuffles edges to one partition, or in rounds of stars; an edge is (value, root) in the end."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["into"])
        self._turn = str(setup["turn"])
        self._step = str(setup["step"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The edges by the value whose star they shape; for large stars in both directions."""
        edges = self._folder.load(task["path"])
        if self._turn == "large":
            edges = joined([edges, {"left": edges["right"], "right": edges["left"]}])
        yield from spread(edges, edges["left"], self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The partition's edges after the step."""
        edges = columns_of(table)
        shape = {"whole": _whole, "large": large_star, "small": small_star}[self._turn]
        return saved_edges(self._folder, self._step, partition, shape(edges["left"], edges["right"]))


def find_components(shuffle: Shuffle, edges: list[Json]) -> list[Json]:
    """Receipts of files of (value, root), given those of near pairs (left > right).

    Values that are in no file are components by themselves. `shuffle` runs a step of this module.
    """
    if sum(receipt["edges"] for receipt in edges) <= ALONE:
        return _turn(shuffle, edges, "whole", "components")
    for count in range(MOST_ROUNDS):
        larger = _turn(shuffle, edges, "large", f"large-{count}")
        smaller = _turn(shuffle, larger, "small", f"small-{count}")
        if _state(smaller) == _state(edges):
            return smaller
        edges = smaller
    raise RuntimeError(f"components did not settle in {MOST_ROUNDS} rounds")


def _turn(shuffle: Shuffle, edges: list[Json], turn: str, step: str) -> list[Json]:
    tasks = [{"path": receipt["path"]} for receipt in edges if receipt["edges"]]
    partitions = 1 if turn == "whole" else None
    return shuffle("components:Components", tasks, partitions, turn=turn, step=step)


def _state(edges: list[Json]) -> tuple[int, int]:
    """How many edges there are, and a sum over them: equal for equal sets, wherever they lie."""
    count = sum(receipt["edges"] for receipt in edges)
    return count, sum(receipt["digest"] for receipt in edges) % (1 << 64)


def _whole(left: U64, right: U64) -> Edges:
    return forest([(left, right)])
