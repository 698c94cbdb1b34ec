"""Pairs of perceptual hashes within the distance, found by many workers."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from filters.clusters import forest
from filters.hamming import U64, Edges, block_masks, bucket_edges
from pipelines.dedup.digests import mix
from pipelines.dedup.tables import Columns, Folder, columns_of, spread
from pipelines.engines.step import At, Json


class NearPairs:
    """Shuffles distinct hashes by bucket, a mask's number and the bits under it; writes forests of edges."""

    def __init__(self, setup: Json) -> None:
        self._folder = Folder(setup)
        self._distance = int(setup["distance"])
        self._partitions = int(setup["into"])
        self._masks = block_masks(self._distance, int(setup["distinct"]))

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """Each hash once for each mask."""
        values = np.unique(self._folder.load(task["hashes"], "hi")["hi"])
        for number, mask in enumerate(self._masks):
            columns: Columns = {"mask": np.full(len(values), number, np.uint16), "value": values}
            yield from spread(columns, mix(values & mask) + np.uint64(number), self._partitions)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """Edges that connect whatever is near within the partition's buckets."""
        left, right = forest(self._edges(columns_of(table)))
        return saved_edges(self._folder, "near", partition, (left, right))

    def _edges(self, rows: Columns) -> Iterator[Edges]:
        for number in range(len(self._masks)):
            values: U64 = rows["value"][rows["mask"] == number]
            yield from bucket_edges(values, self._masks, number, self._distance)


def saved_edges(folder: Folder, step: str, partition: int, edges: Edges) -> Json:
    """The receipt of a file of edges: how many, where, and a sum that tells whether they changed."""
    left, right = edges
    receipt: Json = {"edges": len(left), "digest": int(mix(left ^ mix(right)).sum(dtype=np.uint64))}
    if len(left):
        receipt["path"] = folder.save(step, partition, {"left": left, "right": right})
    return receipt
