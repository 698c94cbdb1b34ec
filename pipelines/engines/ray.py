"""The Ray engine: tasks go to a pool of hosts that serves the whole run.

Pieces of a shuffle's partitions lie in the object store, which spills to disk.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.engines.child import WorkerDied
from pipelines.engines.pace import heaviest_first
from pipelines.engines.ray_cluster import connect, disconnect, must_see, room
from pipelines.engines.ray_pool import RETRIES, Dispatch, Pool
from pipelines.engines.step import Done, Json, Kept, Rows, Step, grouped
from pipelines.files import is_local, join
from pipelines.layout import Layout


class RayEngine:
    """Runs steps on a Ray cluster: the one at `address`, else one made in this process."""

    def __init__(self, workers: int | None, address: str | None, rows: Rows | None = None) -> None:
        self._workers = workers
        self._rows = rows
        self._remote = address is not None
        connect(address, workers)
        self._pool = Pool()

    def open(self, layout: Layout) -> None:
        """Raises InputError where some node cannot see the corpus's folder."""
        if is_local(layout.out) and self._remote:
            marker = join(layout.tmp, "visible")
            layout.store.write_bytes(marker, b"", layout.tmp)
            must_see(marker, layout.out)

    def map(
        self, step: Step, tasks: Sequence[Json], done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Returns the receipts in the order of the tasks; calls `done` with each as it comes."""
        receipts: list[Json] = [{} for _ in tasks]

        def receive(index: int, outcome: Json, _: Any) -> None:
            receipt = receipts[index] = outcome["receipt"]
            if self._rows:
                self._rows(int(receipt.get("rows", 0)))
            if done:
                done(index, receipt)

        if tasks:
            self._fit(step, len(tasks))
            text = self._pool.share(step.to_text())
            self._pool.run(
                step.name,
                heaviest_first(len(tasks), weights),
                lambda host, batch: host.map.remote(text, json.dumps([tasks[index] for index in batch])),
                receive,
                # what may not run twice is not lost by the batch either
                Dispatch(step.twice, batches=step.twice, weights=weights),
            )
        return receipts

    def shuffle(
        self, step: Step, tasks: Sequence[Json], partitions: int, kept: Kept | None = None
    ) -> list[Json]:
        """Returns the receipts of the partitions that hold rows, in partition order."""
        if not tasks:
            return []
        hosts = self._fit(step, max(len(tasks), partitions))
        return Shuffle(self._pool, step, grouped(tasks, GROUPS_A_HOST * hosts), partitions, kept).run()

    def close(self) -> None:
        """Leaves the cluster; one that was made here ends."""
        disconnect()

    def _fit(self, step: Step, calls: int) -> int:
        """Gets hosts for the step, as many as there are calls, room and --workers; returns their number."""
        fitting = room(step)
        size = min(fitting, calls, self._workers or fitting)
        self._pool.fit(step.resources, size)
        return size


GROUPS_A_HOST = 4
"""Into how many calls a host's share of the tasks is split: pieces grow with the data, not with the tasks."""


class Shuffle:
    """One shuffle of a step: split group by group of tasks, then reduce partition by partition.

    The driver owns the pieces, so they outlive the host that made them, but not its node. Where a node took pieces
    away, their tasks are split again and then the partitions that missed them are reduced.
    """

    def __init__(
        self,
        pool: Pool,
        step: Step,
        groups: Sequence[Sequence[Json]],
        partitions: int,
        kept: Kept | None = None,
    ) -> None:
        self._pool = pool
        self._phase, self._dispatch = step.name, Dispatch(step.twice)
        self._step = pool.share(step.to_text())
        self._groups = groups
        self._partitions = partitions
        self._kept = kept
        self._pieces: dict[int, list[Any]] = {}
        """By group: references of its pieces, by partition."""
        self._sent: dict[Any, list[Any]] = {}
        """By the reference of its outcome: those of the pieces of a split that is not over."""
        self._filled: dict[int, set[int]] = {}
        """By group: the partitions that it has rows of."""
        self._receipts: dict[int, Json] = {}

    def run(self) -> list[Json]:
        """Returns the receipts of the partitions that hold rows, in partition order."""
        self._split(range(len(self._groups)))
        left = set[int]().union(*self._filled.values())
        for _ in range(RETRIES + 1):
            lost = self._reduce(left)
            if not lost:
                return [self._receipts[partition] for partition in sorted(self._receipts)]
            self._split(set[int]().union(*lost.values()))
            left = set(lost)
        raise WorkerDied(
            f"phase {self._phase}: the Ray cluster lost pieces of a shuffle {RETRIES + 1} times over: see to its "
            "nodes, then run the same command again to go on"
        )

    def _split(self, groups: Iterable[int]) -> None:
        """Splits groups of tasks; new pieces take the place of those that were lost."""

        def submit(host: Any, groups: Sequence[int]) -> Any:
            (group,) = groups
            split = host.split.options(num_returns=1 + self._partitions)
            outcome, *pieces = split.remote(self._step, json.dumps(self._groups[group]), self._partitions)
            self._sent[outcome] = pieces
            return outcome

        def receive(group: int, outcome: Json, ref: Any) -> None:
            self._pieces[group] = self._sent[ref]
            self._filled[group] = set(outcome["receipt"]["partitions"])
            if self._kept:
                self._kept(outcome["receipt"]["scratch"])

        self._pool.run(self._phase, sorted(groups), submit, receive, self._dispatch)
        self._sent.clear()

    def _reduce(self, partitions: Iterable[int]) -> dict[int, list[int]]:
        """Reduces partitions; returns the groups whose pieces are lost, for each partition that missed some."""
        lost: dict[int, list[int]] = {}

        def submit(host: Any, partitions: Sequence[int]) -> Any:
            (partition,) = partitions
            pieces = [self._pieces[group][partition] for group in self._sources(partition)]
            return host.reduce.remote(self._step, partition, pieces)

        def receive(partition: int, outcome: Json, _: Any) -> None:
            if "lost" in outcome:
                sources = self._sources(partition)
                lost[partition] = [sources[place] for place in outcome["lost"]]
            else:
                self._receipts[partition] = outcome["receipt"]

        self._pool.run(self._phase, sorted(partitions), submit, receive, self._dispatch)
        return lost

    def _sources(self, partition: int) -> list[int]:
        """Returns the groups that have rows of the partition, in the order of their tasks."""
        return [group for group in sorted(self._filled) if partition in self._filled[group]]
