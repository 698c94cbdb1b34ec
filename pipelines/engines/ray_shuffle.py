"""A shuffle on Ray: pieces of the partitions lie in the object store, which spills to disk.

The driver owns the pieces, so they outlive the host that made them, but not its node. Where a node took pieces
away, their tasks are split again and then the partitions that missed them are reduced.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.engines.child import WorkerDied
from pipelines.engines.ray_pool import RETRIES, Pool
from pipelines.engines.step import Json, Step

GROUPS_A_HOST = 4
"""Into how many calls a host's share of the tasks is split: pieces grow with the data, not with the tasks."""


class Shuffle:
    """One shuffle of a step: split in groups of tasks, then reduce partition by partition."""

    def __init__(self, pool: Pool, step: Step, tasks: Sequence[Json], partitions: int, hosts: int) -> None:
        self._pool = pool
        self._phase = step.name
        self._step = pool.share(step.to_text())
        self._groups = grouped(tasks, GROUPS_A_HOST * hosts)
        self._partitions = partitions
        self._pieces: dict[int, list[Any]] = {}
        """By group: references of its pieces, by partition."""
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

        def submit(host: Any, group: int) -> Any:
            split = host.split.options(num_returns=1 + self._partitions)
            outcome, *self._pieces[group] = split.remote(
                self._step, json.dumps(self._groups[group]), self._partitions
            )
            return outcome

        def receive(group: int, outcome: Json) -> None:
            self._filled[group] = set(outcome["receipt"]["partitions"])

        self._pool.run(self._phase, sorted(groups), submit, receive)

    def _reduce(self, partitions: Iterable[int]) -> dict[int, list[int]]:
        """Reduces partitions; returns the groups whose pieces are lost, for each partition that missed some."""
        lost: dict[int, list[int]] = {}

        def submit(host: Any, partition: int) -> Any:
            pieces = [self._pieces[group][partition] for group in self._sources(partition)]
            return host.reduce.remote(self._step, partition, pieces)

        def receive(partition: int, outcome: Json) -> None:
            if "lost" in outcome:
                sources = self._sources(partition)
                lost[partition] = [sources[place] for place in outcome["lost"]]
            else:
                self._receipts[partition] = outcome["receipt"]

        self._pool.run(self._phase, sorted(partitions), submit, receive)
        return lost

    def _sources(self, partition: int) -> list[int]:
        """Returns the groups that have rows of the partition, in the order of their tasks."""
        return [group for group in sorted(self._filled) if partition in self._filled[group]]


def grouped(tasks: Sequence[Json], count: int) -> list[Sequence[Json]]:
    """Returns the tasks in at most `count` runs of about equal length, in their order."""
    size = -(-len(tasks) // count)
    return [tasks[first : first + size] for first in range(0, len(tasks), size)]
