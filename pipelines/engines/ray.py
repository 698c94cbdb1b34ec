"""The Ray engine: Ray Data with actor pools; partitions meet through its hash shuffle."""

import json
import logging
import os
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engines import exchange
from pipelines.engines.failure import Carried, found_in
from pipelines.engines.isolation import IsolatedWorker, Rows
from pipelines.engines.step import Done, Json, Limits, Resources, Step
from pipelines.engines.wire import WorkerDied
from pipelines.files import is_local, join
from pipelines.layout import Layout
from schemas.errors import InputError, missing

try:
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise InputError(missing("the ray engine", "ray[data]")) from error

PATIENCE = 15.0
"""Seconds within which a cluster has to answer."""

PAUSE = 5.0
"""Seconds before what a lost node took away is done again; more after each time."""

RETRIES = 3
"""How often Ray may run a task again after it lost its actor or node."""

PARTITION = "__partition__"

SETTINGS = 4
"""The number of HTTP/2's frame SETTINGS."""

CURRENT = "/tmp/ray/ray_current_cluster"
"""Where `ray start` notes its address; a head that was killed leaves it behind."""


class RayEngine:
    """Runs steps on a Ray cluster: the one at `address`, else one made in this process."""

    def __init__(self, workers: int | None, address: str | None, rows: Rows | None = None) -> None:
        self._workers = workers
        self._rows = rows
        self._remote = address is not None
        _connect(address, workers)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # what goes wrong is raised, and told once
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)

    def open(self, layout: Layout) -> None:
        """InputError where some node cannot see the corpus's folder."""
        if not is_local(layout.out) or not self._remote:
            return
        marker = join(layout.tmp, "visible")
        layout.store.write_bytes(marker, b"", layout.tmp)
        for node in ray.nodes():
            if not node["Alive"]:
                continue
            on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            sees = ray.remote(os.path.exists).options(scheduling_strategy=on_node, num_cpus=0)
            if not ray.get(sees.remote(os.path.abspath(marker)), timeout=120):
                raise InputError(
                    f"{layout.out} is not visible on node {node['NodeManagerAddress']} of the cluster: "
                    "give --out a folder that all nodes share, or an s3:// or gs:// address"
                )

    def map(self, step: Step, tasks: Sequence[Json], done: Done | None = None) -> list[Json]:
        """Receipts in the order of the tasks; `done` hears of each as it comes."""
        found: dict[int, Json] = {}

        def work() -> None:
            left = [(index, task) for index, task in enumerate(tasks) if index not in found]
            results = self._stage(_dataset(left), MapActor, step, len(left))
            for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in batch.to_pylist():
                    receipt = found[row["index"]] = json.loads(row["receipt"])
                    if self._rows:
                        self._rows(int(receipt.get("rows", 0)))
                    if done:
                        done(row["index"], receipt)

        if tasks:
            _survive(work, step)
        return [found[index] for index in range(len(tasks))]

    def shuffle(self, step: Step, tasks: Sequence[Json], partitions: int) -> list[Json]:
        """Receipts of the partitions that hold rows, in partition order."""
        found: dict[int, Json] = {}

        def work() -> None:
            split = self._stage(_dataset(list(enumerate(tasks))), SplitActor, step, len(tasks))
            pieces = split.materialize()
            if pieces.count() == 0:
                return
            # each step by itself: the shuffle's own actors would wait for ever for slots that the next
            # step's pool holds already
            whole = pieces.repartition(partitions, keys=_by(partitions)).materialize()
            reduced = self._stage(whole, ReduceActor, step, partitions)
            for batch in reduced.iter_batches(batch_format="pyarrow"):
                found.update({row["index"]: json.loads(row["receipt"]) for row in batch.to_pylist()})

        if tasks:
            _survive(work, step)
        return [found[index] for index in sorted(found)]

    def close(self) -> None:
        """Leave the cluster; one that was made here ends."""
        ray.shutdown()

    def _stage(self, dataset: Any, actor: type, step: Step, count: int) -> Any:
        with warnings.catch_warnings():
            # finite retries have no parameter of their own yet, and Ray warns of the way they are given
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            return dataset.map_batches(actor, **self._pool(step, count))

    def _pool(self, step: Step, count: int) -> Json:
        """How a stage of the step runs: so many actors as the cluster has room for, each with its share."""
        wanted, total = step.resources, ray.cluster_resources()
        _must_fit(step, total)
        room = int(total.get("CPU", 1) // wanted.cpus)
        if wanted.gpus:
            room = min(room, int(total["GPU"] // wanted.gpus))
        size = max(1, min(room, count, self._workers or room))
        options: Json = {
            "batch_size": None,
            "batch_format": "pyarrow",
            "compute": ActorPoolStrategy(size=size),
            "fn_constructor_args": (json.dumps(asdict(step)),),
            "num_cpus": wanted.cpus,
            "max_restarts": RETRIES,
            "max_task_retries": RETRIES,
        }
        if wanted.gpus:
            options["num_gpus"] = wanted.gpus
        if wanted.memory_bytes:
            options["memory"] = wanted.memory_bytes
        return options


class _Actor:
    """Holds one isolated worker; its child ends with it."""

    def __init__(self, step: str) -> None:
        record = json.loads(step)
        limits, resources = Limits(**record.pop("limits")), Resources(**record.pop("resources"))
        self._worker = IsolatedWorker(Step(**record, limits=limits, resources=resources))


class MapActor(_Actor):
    """Tasks in, receipts out."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        try:
            receipts = [json.dumps(self._worker.run(json.loads(task))) for task in batch["task"].to_pylist()]
        except Exception as failure:  # noqa: BLE001 - raised again in the driver
            raise Carried(failure) from None
        return pa.table({"index": batch["index"], "receipt": pa.array(receipts, pa.string())})


class SplitActor(_Actor):
    """Tasks in, their rows out, marked with the partition they belong to."""

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for task in batch["task"].to_pylist():
            with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder:
                yield from self._pieces(json.loads(task), str(Path(folder) / "pieces.arrow"))

    def _pieces(self, task: Json, path: str) -> Iterator[pa.Table]:
        try:
            written = exchange.by_partition([self._worker.split(task, path)])
        except Exception as failure:  # noqa: BLE001 - raised again in the driver
            raise Carried(failure) from None
        for partition, pieces in written.items():
            table = exchange.read(pieces)
            mark = pa.array([partition] * table.num_rows, pa.int64())
            # out of the mapped file, which goes away
            yield exchange.from_bytes(exchange.to_bytes(table.append_column(PARTITION, mark)))


class ReduceActor(_Actor):
    """Whole partitions in, receipts out."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        numbers = sorted(set(batch[PARTITION].to_pylist()))
        try:
            receipts = [json.dumps(self._reduce(number, batch)) for number in numbers]
        except Exception as failure:  # noqa: BLE001 - raised again in the driver
            raise Carried(failure) from None
        return pa.table({"index": pa.array(numbers, pa.int64()), "receipt": pa.array(receipts, pa.string())})

    def _reduce(self, number: int, batch: pa.Table) -> Json:
        mine = batch.filter(pc.equal(batch[PARTITION], number)).drop_columns([PARTITION])
        with tempfile.TemporaryDirectory(prefix="vlcorpus-") as folder:
            path = str(Path(folder) / "partition.arrow")
            written = exchange.write([(number, mine)], path)
            return self._worker.reduce(number, [(path, written["batches"][str(number)])])


def _dataset(tasks: Sequence[tuple[int, Json]]) -> Any:
    """A block for each task."""
    items = [{"index": index, "task": json.dumps(task)} for index, task in tasks]
    return ray.data.from_items(items, override_num_blocks=len(items))


def _by(partitions: int) -> list[str] | None:
    """The keys to shuffle by: none where there is one partition, which needs no actors of its own."""
    return [PARTITION] if partitions > 1 else None


def _survive(work: Callable[[], None], step: Step) -> None:
    """Do the work, and again what is left of it where Ray lost an actor for good, RETRIES times at most.

    Ray starts an actor of a lost node again, but not where the cluster has become too small for the pool.
    What a worker raised is raised as itself.
    """
    for attempt in range(RETRIES + 1):
        try:
            return work()
        except RayError as error:
            carried = found_in(error)
            if carried is not None:
                raise carried from None
            if isinstance(error, RayTaskError):
                raise
            if attempt == RETRIES:
                raise WorkerDied(
                    f"phase {step.name}: the cluster lost workers {attempt + 1} times over "
                    f"({type(error).__name__}): see to its nodes, then run the same command again to go on"
                ) from error
        # until the cluster knows what it has lost
        time.sleep(PAUSE * (attempt + 1))


def _must_fit(step: Step, total: Mapping[str, float]) -> None:
    """InputError where the cluster, or any single node of it, has no room for one worker of the step."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wants = {
        "GPU": ("gpus", step.resources.gpus, "GPUs", 1),
        "CPU": ("cpus", step.resources.cpus, "CPUs", 1),
        "memory": ("memory_gb", step.resources.memory_bytes, "GB of memory", 1e9),
    }
    for resource, (key, amount, unit, size) in wants.items():
        asks = (
            f"phase {step.name} asks for {amount / size:g} {unit} a worker "
            f"(resources.phases.{step.name}.{key})"
        )
        has = total.get(resource, 0)
        if amount > has:
            raise InputError(f"{asks}, but the cluster has {has / size:g}, so no node can run it")
        if all(amount > node.get(resource, 0) for node in nodes):
            raise InputError(f"{asks}, but no node of the cluster has so much")


def _connect(address: str | None, workers: int | None) -> None:
    """Join the cluster at `address` or make one here; InputError where nobody answers."""
    # our own workers' processes; Ray's usage report would be a call to the outside
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # its core writes to our standard error whatever the level asked for
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet: Json = {"logging_level": "error", "log_to_driver": False}
    if address is None:
        # by name: a plain ray.init() looks for a running cluster, and hangs on what a killed one left
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        return
    address = _found() if address == "auto" else address
    _answers(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray cluster can be joined at {address}: {str(error).splitlines()[0]}"
        ) from error


def _found() -> str:
    """The address of the cluster that this process or machine belongs to, as Ray itself looks for it."""
    try:
        address = os.environ.get("RAY_ADDRESS") or Path(CURRENT).read_text().strip()
    except OSError as error:
        raise InputError(
            "no Ray cluster runs on this machine: give --address host:port, or leave it out to make one here"
        ) from error
    return address


def _answers(address: str) -> None:
    """InputError unless a gRPC server listens at host:port; with any other Ray would wait for ever."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise InputError(
            f"{address!r} is no address of a Ray cluster: give host:port, ray://host:port or auto"
        )
    try:
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            # with TLS the greeting is another one
            if os.environ.get("RAY_USE_TLS") in ("1", "true") or _greets(connection):
                return
        reason = "what listens there is no Ray cluster"
    except OSError as error:
        reason = error.strerror or "no answer"
    raise InputError(
        f"no Ray cluster answers at {address} ({reason}): check the address, or leave --address out to use "
        "this machine"
    )


def _greets(connection: socket.socket) -> bool:
    """Whether the other side answers HTTP/2's preface and empty SETTINGS with SETTINGS of its own (RFC 9113)."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0)))
    header = connection.recv(9, socket.MSG_WAITALL)
    return len(header) == 9 and header[3] == SETTINGS
