"""The Ray engine: tasks go to a pool of hosts that serves the whole run; shuffles pass through the object store."""

import json
from collections.abc import Sequence

from pipelines.engines.isolation import Rows
from pipelines.engines.ray_cluster import connect, disconnect, must_see, room
from pipelines.engines.ray_pool import Pool
from pipelines.engines.ray_shuffle import Shuffle
from pipelines.engines.step import Done, Json, Step
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

    def map(self, step: Step, tasks: Sequence[Json], done: Done | None = None) -> list[Json]:
        """Returns the receipts in the order of the tasks; calls `done` with each as it comes."""
        receipts: list[Json] = [{} for _ in tasks]

        def receive(index: int, outcome: Json) -> None:
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
                range(len(tasks)),
                lambda host, index: host.map.remote(text, json.dumps(tasks[index])),
                receive,
            )
        return receipts

    def shuffle(self, step: Step, tasks: Sequence[Json], partitions: int) -> list[Json]:
        """Returns the receipts of the partitions that hold rows, in partition order."""
        if not tasks:
            return []
        hosts = self._fit(step, max(len(tasks), partitions))
        return Shuffle(self._pool, step, tasks, partitions, hosts).run()

    def close(self) -> None:
        """Leaves the cluster; one that was made here ends."""
        disconnect()

    def _fit(self, step: Step, calls: int) -> int:
        """Gets hosts for the step, as many as there are calls, room and --workers; returns their number."""
        fitting = room(step)
        size = min(fitting, calls, self._workers or fitting)
        self._pool.fit(step.resources, size)
        return size
