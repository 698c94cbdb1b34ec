"""A host: Ray's actor that runs the calls of the driver, one after another, in the isolated child that it keeps.

What a worker raises is part of a call's outcome, as data, so that Ray never sees a failure of ours:
{"receipt": …}, {"failure": …} or, where pieces of a partition are lost, {"lost": [their places]}.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectLostError

from pipelines.engines import exchange
from pipelines.engines.child import describe
from pipelines.engines.isolation import IsolatedWorker
from pipelines.engines.step import Json, Step


class Host:
    """Serves steps and tasks as text; the child is kept from call to call and from step to step."""

    def __init__(self) -> None:
        self._step = ""
        self._worker: IsolatedWorker | None = None

    def ready(self) -> None:
        """Returns as soon as the host can take calls."""

    def map(self, step: str, task: str) -> str:
        """Runs one task; returns its outcome."""
        return _outcome(lambda: self._serving(step).run(json.loads(task)))

    def split(self, step: str, tasks: str, partitions: int) -> Iterator[str | bytes | None]:
        """Yields the outcome of some tasks, then their rows partition by partition; None where there are none."""
        with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder:
            pieces: dict[int, list[tuple[str, list[int]]]] = {}

            def work() -> Json:
                worker = self._serving(step)
                paths = ((task, str(Path(folder) / f"{n}.arrow")) for n, task in enumerate(json.loads(tasks)))
                pieces.update(exchange.by_partition([worker.split(task, path) for task, path in paths]))
                return {"partitions": sorted(pieces)}

            yield _outcome(work)
            for partition in range(partitions):
                mine = pieces.get(partition)
                yield exchange.to_bytes(exchange.read(mine)) if mine else None

    def reduce(self, step: str, partition: int, pieces: Sequence[Any]) -> str:
        """Reduces a partition, given the references of all its pieces; returns its outcome."""
        # from all nodes at once
        ray.wait(pieces, num_returns=len(pieces))
        lost: list[int] = []
        with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder:

            def work() -> Json:
                mine = exchange.gather(
                    partition, _bodies(pieces, lost), str(Path(folder) / "partition.arrow")
                )
                return {} if lost else self._serving(step).reduce(partition, mine)

            outcome = _outcome(work)
        return json.dumps({"lost": lost}) if lost else outcome

    def _serving(self, step: str) -> IsolatedWorker:
        """Returns the worker, ready for the step."""
        if self._worker is None:
            self._worker = IsolatedWorker(Step.from_text(step))
        elif step != self._step:
            self._worker.use(Step.from_text(step))
        self._step = step
        return self._worker


def _bodies(pieces: Sequence[Any], lost: list[int]) -> Iterator[bytes]:
    """Yields one piece at a time; notes in `lost` the places of those that Ray has lost."""
    for place, piece in enumerate(pieces):
        try:
            yield ray.get(piece)
        except ObjectLostError:
            lost.append(place)


def _outcome(work: Callable[[], Json]) -> str:
    """Does the work; returns its receipt or what it raised, as JSON."""
    try:
        return json.dumps({"receipt": work()})
    except Exception as failure:  # noqa: BLE001 - raised again in the driver
        return json.dumps({"failure": describe(failure)})
