"""What the driver and the store have to do for each input shard: CPU time, memory and requests, by phase.

    python -m benchmarks.scale [--shards 300,1000,3000] [--memory 5000,10000]

The driver is the real one: recipe, phases, receipts, `status`. Every input shard holds one row of text and becomes one
output shard; the workers are stand-ins (`Apart`), and what they use from the start to the end of a task is set aside,
so what is left is the driver. Requests are the calls of a store's methods by the driver, each counted as what an object
store would be asked: a listing has one request for 1,000 names, and a file that the store vouches for is put and asked
about. What the driver holds is traced in runs of their own, at two sizes, whose difference leaves out what is constant;
below some 4,000 shards a merge of receipts holds all of them once more. With TMPDIR on a disk of memory nobody waits.
"""

import argparse
import gc
import hashlib
import json
import os
import tempfile
import threading
import time
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from unittest import mock

from benchmarks.removal import write
from pipelines.audit import status
from pipelines.engines.inline import InlineEngine
from pipelines.engines.step import Done, Json, Kept, Step, named
from pipelines.files import Store
from pipelines.phases.table import PHASES
from pipelines.progress import Reporter
from pipelines.recipe.load import load
from pipelines.runs import Options, run

AROUND: Final = "around"
"""What is done before the first phase and after the last one."""

PAGE: Final = 1000
"""Names that an object store gives in answer to one request."""

HEADS: Final = ("entry",)
LISTS: Final = ("list_files", "list_names", "entries", "glob")

LIMITS: Final = {
    "first": {"ms": 1.5, "kB": 4.0},
    "resume": {"ms": 0.2, "requests": 0.05},
    "status": {"requests": 0.01},
}
"""At most so much for each input shard, over all phases."""

GROWTH: Final = 1.1
"""With k times the shards the CPU time grows at most by k times this."""


@dataclass
class Meter:
    """CPU time, peaks of traced memory and requests of the driver, by phase; a worker's are set aside."""

    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peaks: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    _phase: str = AROUND
    _working: bool = False
    _since: float = field(default_factory=time.process_time)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def turn(self, phase: str | None = None, *, working: bool = False) -> str:
        """Charges what was used since the last turn; what follows is of `phase`, or of a worker. Returns the phase."""
        before, now = self._phase, time.process_time()
        if not self._working:
            self.cpu[before] += now - self._since
            if tracemalloc.is_tracing():
                self.peaks[before] = max(self.peaks[before], tracemalloc.get_traced_memory()[1])
        if tracemalloc.is_tracing():
            tracemalloc.reset_peak()
        self._phase, self._working = phase or before, working
        self._since = time.process_time()
        return before

    def ask(self, kind: str, count: int = 1) -> None:
        """Notes requests to the store, where it is the driver that asks."""
        if not self._working:
            with self._lock:
                self.requests[self._phase, kind] += count

    def asked(self, phase: str) -> int:
        """Returns the requests of a phase."""
        return sum(count for (where, _), count in self.requests.items() if where == phase)

    def kinds(self) -> Counter[str]:
        """Returns the requests of all phases by kind."""
        found = Counter[str]()
        for (_, kind), count in self.requests.items():
            found[kind] += count
        return found


class Tasks(Sequence[Any]):
    """Tasks of a step: making one, with what it may believe, is the driver's work."""

    def __init__(self, meter: Meter, tasks: Sequence[Json]) -> None:
        self._meter, self._tasks = meter, tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, at: Any) -> Any:
        self._meter.turn()
        try:
            return self._tasks[at]
        finally:  # past the last task too, where a loop over them ends
            self._meter.turn(working=True)


class Apart(InlineEngine):
    """The inline engine whose workers are stand-ins: they do the first task of a step, and copy it for the others.

    So most of the CPU time of a run is the driver's. Every row is another one, so no result of a task depends on the
    other tasks; what has to differ from shard to shard (names, and where compose says that shards end) does.
    """

    def __init__(self, meter: Meter, **given: Any) -> None:
        super().__init__(**given)
        self._meter = meter

    def map(
        self, step: Step, tasks: Sequence[Json], done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Returns the receipts of the tasks; `done` is the driver's."""
        self._meter.turn(working=True)
        found: list[Json] = []
        first: Copied | None = None
        for index, task in enumerate(Tasks(self._meter, tasks)):
            if first is None:
                (receipt,) = super().map(step, [task])
                first = Copied(_shard_of(task), json.dumps(receipt))
            else:
                receipt = first.of(_shard_of(task))
            self._meter.turn()
            if done:
                done(index, receipt)
            self._meter.turn(working=True)
            found.append(receipt)
        self._meter.turn()
        return found

    def shuffle(
        self, step: Step, tasks: Sequence[Json], partitions: int, kept: Kept | None = None
    ) -> list[Json]:
        """Returns the receipts of the partitions that hold rows: of the shards the first alone brings any."""
        self._meter.turn(working=True)
        some = [
            task
            for index, task in enumerate(Tasks(self._meter, tasks))
            if not index or not task.keys() & {"shard", "shards"}
        ]
        found = super().shuffle(step, some, partitions, kept)
        self._meter.turn()
        return found


class Copied:
    """The receipt of a task, which is made that of others; their files are links to its own."""

    def __init__(self, shard: str, receipt: str) -> None:
        self._shard, self._receipt = shard, receipt

    def of(self, shard: str) -> Json:
        """Returns the receipt of the same task for another shard, whose files lie there."""
        receipt: Json = json.loads(self._receipt.replace(self._shard, shard))
        for output in (
            out for one in (receipt, *receipt.get("shards", ())) for out in one.get("outputs", ())
        ):
            os.link(output["name"].replace(shard, self._shard), output["name"])
        digest = hashlib.blake2b(shard.encode(), digest_size=16).hexdigest()
        for _, _, stretches in receipt.get("runs", ()):
            stretches[0][1:3] = int(digest[:16], 16), digest
        return receipt


def _shard_of(task: Json) -> str:
    """Returns the one shard of a task: phases that take several at a time are held to one (`metered`)."""
    (shard,) = task.get("shards", [task.get("shard")])
    return str(shard).rpartition("/")[2]


@contextmanager
def metered() -> Iterator[Meter]:
    """Counts what the driver does in this process."""
    meter = Meter()
    phases = {one.run: one.name for one in PHASES}

    def known(place: str) -> Any:
        real = named(place)
        return partial(_as_phase, meter, phases[place], real) if place in phases else real

    with ExitStack() as stack:
        stack.enter_context(mock.patch("pipelines.build.named", known))
        stack.enter_context(mock.patch("pipelines.phases.dedup.signals.MOST_ROWS", 1))
        stack.enter_context(mock.patch("pipelines.runs.InlineEngine", partial(Apart, meter)))
        for name, method in _counted(meter).items():
            stack.enter_context(mock.patch.object(Store, name, method))
        yield meter
        meter.turn()


def _as_phase(meter: Meter, phase: str, real: Callable[..., None], *given: Any) -> None:
    before = meter.turn(phase)
    try:
        real(*given)
    finally:
        meter.turn(before)


def _counted(meter: Meter) -> dict[str, Callable[..., Any]]:
    """Returns the methods of a store that ask it for something, each of which tells the meter."""
    found: dict[str, Callable[..., Any]] = {}
    kinds = {"open": "get", "remove": "delete", "remove_folder": "delete"} | dict.fromkeys(HEADS, "head")
    for name, kind in kinds.items():
        found[name] = _telling(partial(meter.ask, kind), getattr(Store, name))
    for name in LISTS:
        found[name] = _telling(partial(_listed, meter), getattr(Store, name), answered=True)
    written = partial(_written, meter)
    found["write_atomic"] = _telling(written, Store.write_atomic, keyed=True)
    return found


def _telling(
    tell: Callable[..., None], real: Callable[..., Any], *, answered: bool = False, keyed: bool = False
) -> Callable[..., Any]:
    """Returns a method that calls `tell` beside `real`: with its answer, or with its keywords, or with nothing."""

    def method(self: Store, *given: Any, **more: Any) -> Any:
        found = real(self, *given, **more)
        if answered:
            tell(found)
        elif keyed:
            tell(**more)
        else:
            tell()
        return found

    return method


def _listed(meter: Meter, found: Sequence[Any]) -> None:
    meter.ask("list", max(1, -(-len(found) // PAGE)))


def _written(meter: Meter, scratch: bool = False) -> None:
    meter.ask("put")
    if not scratch:
        meter.ask("head")


def measured(shards: int, folder: Path) -> dict[str, Meter]:
    """Builds a corpus of so many input shards, again with nothing to do, and asks for its status."""
    write(folder / "in", 0, shards, 1)
    recipe = load(
        {
            "out": str(folder / "out"),
            "sources": [{"id": "words", "path": str(folder / "in"), "kind": "text"}],
            "shards": {"samples": 1},
        }
    )
    time.sleep(2.5)  # a file that changed a moment ago is read again in the next run
    found = {}
    for name in ("first", "resume"):
        gc.collect()
        with metered() as found[name]:
            run(recipe, PHASES[-1].name, Options("inline"), Reporter())
    with metered() as found["status"]:
        status.read(recipe.out)
    return found


def at(shards: int) -> dict[str, Meter]:
    """Returns what was measured with so many shards, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="vlcorpus-scale-") as folder:
        return measured(shards, Path(folder))


def held(sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Returns kB a shard that the driver holds at the peak of each phase, from two sizes.

    Arrow's own buffers are not traced.
    """
    found = []
    for size in sizes:
        tracemalloc.start()
        found.append(at(size))
        tracemalloc.stop()
    small, large = found
    return {
        name: {
            phase: (peak - small[name].peaks[phase]) / (sizes[1] - sizes[0]) / 1000
            for phase, peak in meter.peaks.items()
        }
        for name, meter in large.items()
    }


def table(title: str, found: dict[int, Meter]) -> None:
    """Prints a line a phase: ms of CPU and requests for each input shard, at each number of shards."""
    print(f"\n{title}: CPU ms a shard, requests a shard")
    print(f"{'shards':10s}" + "".join(f"{size:10,d}{'':9s}" for size in found))
    for name in (AROUND, *(one.name for one in PHASES)):
        pairs = [(meter.cpu[name] / size * 1000, meter.asked(name) / size) for size, meter in found.items()]
        if any(pair != (0, 0) for pair in pairs):
            print(f"{name:10s}" + "".join(f"{ms:10.3f}{asked:9.3f}" for ms, asked in pairs))
    print(f"{'in all':10s}" + "".join("{:10.3f}{:9.3f}".format(*of(*pair)) for pair in found.items()))
    size, meter = list(found.items())[-1]
    kinds = ", ".join(f"{kind} {count / size:.3f}" for kind, count in sorted(meter.kinds().items()))
    print(f"requests a shard by kind: {kinds}", flush=True)


def of(size: int, meter: Meter) -> tuple[float, float]:
    """Returns ms of CPU and requests for each of so many shards."""
    return sum(meter.cpu.values()) / size * 1000, meter.requests.total() / size


def verdicts(found: dict[int, dict[str, Meter]], kilobytes: dict[str, dict[str, float]]) -> None:
    """Prints whether each limit is kept, by the largest number of shards; growth from each number to the next."""
    sizes = list(found)
    for name, limits in LIMITS.items():
        ms, requests = of(sizes[-1], found[sizes[-1]][name])
        kB = max(kilobytes[name].values())
        for unit, value in {"ms": ms, "requests": requests, "kB": kB}.items():
            if unit in limits:
                _verdict(f"{name}: {unit} a shard", value, limits[unit])
        for small, large in pairwise(sizes):
            few, many = (sum(found[one][name].cpu.values()) for one in (small, large))
            _verdict(f"{name}: CPU, {small:,} to {large:,}", many / few, GROWTH * large / small)


def _verdict(name: str, value: float, limit: float) -> None:
    print(f"{'reached' if value <= limit else 'MISSED':8s} {name:32s} {value:9.3f} (at most {limit:g})")


def main() -> None:
    """Prints the tables and the verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", default="300,1000,3000", help="numbers of input shards, ascending")
    parser.add_argument(
        "--memory", default="5000,10000", help="two numbers of input shards for traced memory"
    )
    given = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, load before {os.getloadavg()[0]:.1f}")
    at(10)  # loads what later runs share
    found = {size: at(size) for size in map(int, given.shards.split(","))}
    for name in LIMITS:
        table(name, {size: meters[name] for size, meters in found.items()})
    kilobytes = held([int(size) for size in given.memory.split(",")])
    for name, by_phase in kilobytes.items():
        listed = ", ".join(f"{phase} {kB:.1f}" for phase, kB in by_phase.items())
        print(f"{name}: kB a shard at the driver's peak: {listed}")
    verdicts(found, kilobytes)


if __name__ == "__main__":
    main()
