"""The Beam engine: Create | Reshuffle | ParDo for a map, GroupByKey for a shuffle.

Beam gives nothing back to its driver, so receipts pass through the corpus's work folder, where the
driver picks them up while the pipeline runs: a killed run keeps what was finished. A worker's failure
crosses Beam's error handling as text, and comes out as itself.
"""

import base64
import json
import logging
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.engines import exchange
from pipelines.engines.child import describe, rebuild
from pipelines.engines.isolation import IsolatedWorker
from pipelines.engines.step import Done, Json, Kept, Rows, Step
from pipelines.files import join
from pipelines.layout import Layout
from schemas.errors import InputError, missing

# Beam warns that Google's client libraries are missing, which nothing here needs
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())

try:
    import apache_beam as beam
    from apache_beam.metrics import Metrics
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
    from apache_beam.runners import create_runner
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
except ImportError as error:
    raise InputError(missing("the beam engine", "apache-beam")) from error

POLL = 0.5
"""Seconds between looks for receipts."""

_MARK = re.compile(r"vlcorpus-failure:([A-Za-z0-9+/=]+):end")


class Carried(RuntimeError):
    """A worker's failure on its way to the driver: its text holds it whole, in letters that nobody quotes."""

    def __init__(self, failure: Exception) -> None:
        text = base64.b64encode(json.dumps(describe(failure)).encode()).decode()
        super().__init__(f"{type(failure).__name__}: {failure}\nvlcorpus-failure:{text}:end")

    def __reduce__(self) -> tuple[object, ...]:
        return RuntimeError, (str(self),)


def found_in(error: BaseException) -> Exception | None:
    """The failure that a framework's exception carries somewhere in its text or causes, if any."""
    seen: BaseException | None = error
    while seen is not None:
        match = _MARK.search(str(seen))
        if match:
            return rebuild(json.loads(base64.b64decode(match.group(1))))
        seen = seen.__cause__ or seen.__context__
    return None


class BeamEngine:
    """Runs steps as Beam pipelines; `runner` are Beam's own options, by default those of FnApiRunner here."""

    def __init__(self, runner: Sequence[str], workers: int, rows: Rows | None = None) -> None:
        self._options = list(runner)
        self._workers = workers
        self._rows = rows
        self._layout = Layout(tempfile.gettempdir())
        self._runner()

    def open(self, layout: Layout) -> None:
        """Receipts pass through this corpus's work folder."""
        self._layout = layout

    def map(
        self, step: Step, tasks: Sequence[Json], done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Receipts in the order of the tasks; `done` hears of each within about half a second.

        The runner hands the tasks out, in bundles of its own, whatever they weigh.
        """

        def mapped(spread: Any, address: str) -> Any:
            return spread | step.name >> beam.ParDo(MapFn(step.to_text(), address))

        found = self._run(tasks, mapped, done)
        return [found[index] for index in range(len(tasks))]

    def shuffle(
        self, step: Step, tasks: Sequence[Json], partitions: int, kept: Kept | None = None
    ) -> list[Json]:
        """Receipts of the partitions that hold rows, in partition order."""

        def shuffled(spread: Any, address: str) -> Any:
            return (
                spread
                | f"{step.name}: split" >> beam.ParDo(SplitFn(step.to_text(), address))
                | "by partition" >> beam.GroupByKey()
                | f"{step.name}: reduce" >> beam.ParDo(ReduceFn(step.to_text(), address))
            )

        found = self._run(tasks, shuffled)
        if kept:
            kept([one for index, receipt in sorted(found.items()) if index < 0 for one in receipt["scratch"]])
        return [receipt for index, receipt in sorted(found.items()) if index >= 0]

    def close(self) -> None:
        """Ends the children that were kept in this process."""
        WARM.close()

    def _run(
        self, tasks: Sequence[Json], work: Callable[[Any, str], Any], done: Done | None = None
    ) -> dict[int, Json]:
        """Runs a pipeline over the tasks in a thread; hands on receipts as they come to the address of `work`."""
        items = [(index, json.dumps(task)) for index, task in enumerate(tasks)]
        mail = Mail(self._layout)
        failure: list[BaseException] = []

        def run() -> None:
            try:
                pipeline = beam.Pipeline(runner=self._runner(), options=self._pipeline_options())
                work(pipeline | "tasks" >> beam.Create(items) | "spread" >> beam.Reshuffle(), mail.address)
                pipeline.run().wait_until_finish()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the driver's thread
                failure.append(error)

        # a daemon, so that an interrupt ends the driver whatever the runner does
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        found: dict[int, Json] = {}
        try:
            while thread.is_alive():
                thread.join(POLL)
                self._collect(mail, found, done)
            self._collect(mail, found, done)
        finally:
            mail.remove()
        if failure:
            raise found_in(failure[0]) or failure[0]
        return found

    def _collect(self, mail: "Mail", found: dict[int, Json], done: Done | None) -> None:
        for index, receipt in mail.fresh(found):
            found[index] = receipt
            if self._rows:
                self._rows(int(receipt.get("rows", 0)))
            if done:
                done(index, receipt)

    def _pipeline_options(self) -> Any:
        options = PipelineOptions(self._options)
        direct = options.view_as(DirectOptions)
        if direct.direct_running_mode != "in_memory" and "--direct_num_workers" not in " ".join(
            self._options
        ):
            direct.direct_num_workers = self._workers
        return options

    def _runner(self) -> Any:
        """The runner that the options name; InputError where there is none of that name."""
        name: str | None = PipelineOptions(self._options).view_as(StandardOptions).runner
        if name is None:
            # not DirectRunner, which would fetch and run a binary
            return FnApiRunner()
        try:
            return create_runner(name)
        except (AttributeError, ImportError, ValueError) as error:
            raise InputError(f"Beam has no runner {name!r} here: {error}") from error


class Mail:
    """Receipts on their way to the driver: one small file each, in a folder of the corpus."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = join(layout.exchange, f"beam-{uuid.uuid4().hex[:12]}")

    @property
    def address(self) -> str:
        """What a worker needs to post."""
        return json.dumps({"layout": asdict(self._layout), "folder": self._folder})

    @staticmethod
    def post(address: str, index: int, receipt: Json) -> None:
        """Send a receipt; a second of the same index is the same."""
        where = json.loads(address)
        layout = Layout(**where["layout"])
        body = json.dumps(receipt).encode()
        layout.store.write_bytes(join(where["folder"], f"{index}.json"), body, layout.tmp)

    def fresh(self, known: dict[int, Json]) -> Iterator[tuple[int, Json]]:
        """Receipts that have come since."""
        store = self._layout.store
        if not store.is_folder(self._folder):
            return
        for info in store.list_files(self._folder):
            index = int(info.name.removesuffix(".json"))
            if index not in known:
                yield index, json.loads(store.read_bytes(info.path))

    def remove(self) -> None:
        """Take the folder away."""
        self._layout.store.remove_folder(self._folder)


class Warm:
    """The isolated workers of this process that have nothing to do, kept from pipeline to pipeline."""

    def __init__(self) -> None:
        self._idle: list[IsolatedWorker] = []

    @contextmanager
    def worker(self, step: str) -> Iterator[IsolatedWorker]:
        """Lends a worker that serves the step; what it raises can cross Beam."""
        try:
            worker = self._idle.pop()
            worker.use(Step.from_text(step))
        except IndexError:
            worker = IsolatedWorker(Step.from_text(step))
        try:
            yield worker
        except Exception as failure:  # noqa: BLE001 - raised again in the driver
            raise Carried(failure) from None
        finally:
            self._idle.append(worker)

    def close(self) -> None:
        """Ends their children."""
        while self._idle:
            self._idle.pop().close()


WARM = Warm()
"""Those of this process; a runner that works in the driver's process shares them over all pipelines."""


class _Fn(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Holds its step as text, so that what is pickled is plain."""

    def __init__(self, step: str, address: str = "") -> None:
        self._step = step
        self._address = address


class MapFn(_Fn):
    """A task in, its receipt posted and counted."""

    def process(self, element: tuple[int, str]) -> Iterator[int]:
        index, task = element
        with WARM.worker(self._step) as worker:
            receipt = worker.run(json.loads(task))
        _count(receipt)
        Mail.post(self._address, index, receipt)
        yield index


class SplitFn(_Fn):
    """A task in, its rows out as Arrow streams by partition; what it left on disk is posted below zero."""

    def process(self, element: tuple[int, str]) -> Iterator[tuple[int, bytes]]:
        with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder:
            with WARM.worker(self._step) as worker:
                written = worker.split([json.loads(element[1])], str(Path(folder) / "pieces.arrow"))
            if written["scratch"]:
                Mail.post(self._address, -1 - element[0], {"scratch": written["scratch"]})
            for partition, pieces in exchange.by_partition([written]).items():
                yield partition, exchange.to_bytes(exchange.read(pieces))


class ReduceFn(_Fn):
    """A whole partition in, its receipt posted."""

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[int]:
        partition, streams = element
        with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder, WARM.worker(self._step) as worker:
            pieces = exchange.gather(partition, streams, str(Path(folder) / "partition.arrow"))
            receipt = worker.reduce(partition, pieces)
        Mail.post(self._address, partition, receipt)
        yield partition


def _count(receipt: Json) -> None:
    """Beam's own counters: rows, what became of them, and why."""
    for name in ("rows", "kept", "dropped", "quarantined", "samples"):
        if receipt.get(name):
            Metrics.counter("vlcorpus", name).inc(int(receipt[name]))
    for prefix, counts in (
        ("dropped", receipt.get("reasons", {})),
        ("quarantined", receipt.get("errors", {})),
    ):
        for reason, count in counts.items():
            Metrics.counter("vlcorpus", f"{prefix}: {reason}").inc(int(count))
