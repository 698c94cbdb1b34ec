"""Connected components of the near pairs, by one worker where they are few and by many where not."""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from filters.clusters import components, large_star, small_star
from pipelines.dedup.near import saved_edges
from pipelines.dedup.tables import Folder, columns_of, joined, spread
from pipelines.engines.step import At, Engine, Json, Step

ALONE: Final = 4_000_000
"""So many edges are left to one worker (about 500 MB)."""
MOST_ROUNDS: Final = 64


class Components:
    """Shuffles edges to one partition, or in rounds of stars; an edge is (value, root) in the end."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._partitions = int(setup["partitions"])
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


def find_components(engine: Engine, step: Step, edges: list[Json], alone: int = ALONE) -> list[Json]:
    """Receipts of files of (value, root), from those of near pairs (left > right); values in none are alone."""
    edges = [receipt for receipt in edges if receipt["edges"]]
    if sum(receipt["edges"] for receipt in edges) <= alone:
        return _turn(engine, step, edges, "whole", "components")
    for count in range(MOST_ROUNDS):
        larger = _turn(engine, step, edges, "large", f"large-{count}")
        smaller = _turn(engine, step, larger, "small", f"small-{count}")
        if _state(smaller) == _state(edges):
            return smaller
        edges = smaller
    raise RuntimeError(f"components did not settle in {MOST_ROUNDS} rounds")
