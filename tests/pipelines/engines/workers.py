"""Workers that do as they are told, and workers that misbehave, for all engines alike."""

import collections
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from pipelines.engines.step import IDLE, SEVERAL, At, Json
from pipelines.files import join
from pipelines.layout import Layout
from schemas.doing import doing
from schemas.errors import InputError

NAME = "tests.pipelines.engines.workers"


def abort() -> None:
    os.abort()


def spin() -> None:
    """For ever inside one C call that keeps the interpreter's lock."""
    collections.deque(itertools.repeat(0), maxlen=0)


def sleep() -> None:
    time.sleep(3600)


def eat() -> None:
    held = []
    while True:
        held.append(bytes(64 * 1024 * 1024))  # zeros that the kernel need not lay out: no processor time


def grumble() -> None:
    """What a C library does, and what Python does."""
    os.write(2, b"a library grumbles")
    print("a warning of ours", file=sys.stderr)


def orphan() -> None:
    """Ends the parent, a host of Ray, and so itself."""
    os.kill(os.getppid(), signal.SIGKILL)
    sleep()


DEEDS = {"orphan": orphan, "abort": abort, "spin": spin, "sleep": sleep, "eat": eat, "grumble": grumble}


def note(folder: str, name: str) -> int:
    """One more file of that name in the folder; how many there were before."""
    before = len(list(Path(folder).glob(f"{name}.*")))
    (Path(folder) / f"{name}.{before}.{os.getpid()}").touch()
    return before


class Rows:
    """Goes over the rows of a task as measure does; a row does the deed that the task gives it."""

    def __init__(self, setup: Json) -> None:
        self._setup = setup

    def run(self, task: Json, at: At) -> Json:
        passed = {} if "only" in task or task.get("blind") else task.get("verdicts", {})
        rows = [task["only"]] if "only" in task else range(task["rows"])
        seen = []
        for row in rows:
            at(row)
            if "notes" in task:
                note(task["notes"], f"row{row}")
            with doing(task.get("before", "")):
                pass
            if str(row) not in passed:
                with doing(task.get("named", "")):
                    self._do(task.get("deeds", {}).get(str(row)))
                seen.append(row)
        if not task.get("careful") and "only" not in task:
            at(SEVERAL)
            self._do(task.get("batch"))
        at(IDLE)
        return {"seen": seen, "rows": len(seen), "careful": bool(task.get("careful")), "pid": os.getpid()}

    def _do(self, deed: str | None) -> None:
        if deed:
            DEEDS[deed]()


class Uncounted(Rows):
    """Touches each row twice, and its receipt does not count them."""

    def run(self, task: Json, at: At) -> Json:
        def twice(row: int) -> None:
            at(row)
            at(row)

        receipt = super().run(task, twice)
        return {"seen": receipt["seen"]}


class Once:
    """Dies at a row until it has been tried so often in all."""

    def __init__(self, setup: Json) -> None:
        self._deaths = setup["deaths"]

    def run(self, task: Json, at: At) -> Json:
        at(task.get("only", 0) if task["blames"] else IDLE)
        if "only" not in task and note(task["notes"], "try") < self._deaths:
            os.abort()
        at(IDLE)
        return {}


class Stubborn:
    """Dies at a row even where its verdict says to pass it by."""

    def __init__(self, setup: Json) -> None:
        pass

    def run(self, task: Json, at: At) -> Json:
        at(2)
        os.abort()


class DiesAtSetup:
    """Never gets ready: ends its process so often, or always."""

    def __init__(self, setup: Json) -> None:
        if note(setup["notes"], "setup") < setup["deaths"]:
            os.abort()

    def run(self, task: Json, at: At) -> Json:
        return {"ready": True}


class Fails:
    """Fails with a sentence, or with a mistake in the program."""

    def __init__(self, setup: Json) -> None:
        if setup.get("at") == "setup":
            raise InputError("no model at /there: give its path")

    def run(self, task: Json, at: At) -> Json:
        if task.get("mistake"):
            raise KeyError("a mistake in the program")
        if task.get("sentence"):
            raise InputError("source web: cannot read «ü»: mend it")
        return {"number": task["number"]}

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        yield 0, pa.table({"a": [task["number"]]})
        if task.get("sentence"):
            raise InputError("source web: cannot split: mend it")

    def reduce(self, partition: int, table: pa.Table) -> Json:
        raise InputError("source web: cannot reduce: mend it")


class Sums:
    """Map: the sum of a task's numbers. Shuffle: numbers by remainder, summed and counted."""

    def __init__(self, setup: Json) -> None:
        self._modulus = setup.get("modulus", 7)
        self._skip = setup.get("skip")

    def run(self, task: Json, at: At) -> Json:
        at(0)
        return {"sum": sum(task["numbers"]), "rows": len(task["numbers"])}

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        for partition in range(self._modulus):
            mine = [number for number in task["numbers"] if number % self._modulus == partition]
            yield partition, pa.table({"number": pa.array(mine, pa.int64())})

    def reduce(self, partition: int, table: pa.Table) -> Json:
        numbers = table["number"].to_pylist()
        assert all(number % self._modulus == partition for number in numbers)
        return {"partition": partition, "sum": sum(numbers), "rows": len(numbers)}


class Leaves(Sums):
    """Sums, and leaves a scratch file for each task that it splits and each partition that it reduces."""

    def __init__(self, setup: Json) -> None:
        super().__init__(setup)
        self._layout = Layout(**setup["layout"])

    def run(self, task: Json, at: At) -> Json:
        self._leave(f"run-{task['number']}")
        return super().run(task, at)

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        self._leave(f"split-{task['number']}")
        yield from super().split(task, at)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        self._leave(f"reduce-{partition}")
        return super().reduce(partition, table)

    def _leave(self, name: str) -> None:
        path = join(self._layout.work, "left", name)
        self._layout.store.write_bytes(path, name.encode(), self._layout.tmp, scratch=True)


class LosesHost(Sums):
    """Sums; its parent, a host of Ray, is killed in the middle of the verb that the setup names."""

    def __init__(self, setup: Json) -> None:
        super().__init__(setup)
        self._verb, self._folder, self._times = setup["verb"], setup["notes"], setup["times"]

    def run(self, task: Json, at: At) -> Json:
        self._lose("map")
        return super().run(task, at)

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        for number, piece in enumerate(super().split(task, at)):
            if number == 1:
                self._lose("split")
            yield piece

    def reduce(self, partition: int, table: pa.Table) -> Json:
        self._lose("reduce")
        return super().reduce(partition, table)

    def _lose(self, verb: str) -> None:
        if verb == self._verb and note(self._folder, verb) < self._times:
            os.kill(os.getppid(), signal.SIGKILL)
            sleep()


class Pid:
    """Says who ran it; the first to come waits a moment, so that others get their share."""

    def __init__(self, setup: Json) -> None:
        self._made = itertools.count()
        print("a library that prints")

    def run(self, task: Json, at: At) -> Json:
        time.sleep(task.get("seconds", 0))
        threads = os.environ["OMP_NUM_THREADS"]
        return {"pid": os.getpid(), "host": os.getppid(), "before": next(self._made), "threads": threads}


class Hold:
    """Writes its process's number, then spins inside C where no row's deadline ends it."""

    def __init__(self, setup: Json) -> None:
        pass

    def run(self, task: Json, at: At) -> Json:
        Path(task["pid"]).write_text(str(os.getpid()))
        spin()
        return {}


class Either:
    """Fails with a sentence, or takes an hour."""

    def __init__(self, setup: Json) -> None:
        pass

    def run(self, task: Json, at: At) -> Json:
        if task.get("sentence"):
            time.sleep(1)
            raise InputError("source web: cannot read: mend it")
        sleep()
        return {}


class Straggles(Sums):
    """Sums, and writes the task's numbers; the first to come to the task that the setup names sleeps, or dies later."""

    def __init__(self, setup: Json) -> None:
        super().__init__(setup)
        self._notes, self._slow, self._seconds = setup["notes"], setup["slow"], setup.get("seconds", 3600)
        self._deeds = setup.get("deeds", {})

    def run(self, task: Json, at: At) -> Json:
        at(0)
        self._begin("run", task["numbers"][0])
        for row in range(len(task["numbers"])):
            at(row)
        at(IDLE)
        return {"sum": sum(task["numbers"]), "rows": len(task["numbers"])}

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        self._begin("split", task["numbers"][0])
        yield from super().split(task, at)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        self._begin("reduce", partition)
        return super().reduce(partition, table)

    def _begin(self, verb: str, number: int) -> None:
        tries = note(self._notes, f"{verb}-{number}")
        if number == self._slow:
            if tries and (deed := self._deeds.get(str(tries))):
                DEEDS[deed]()
            if not tries:
                time.sleep(self._seconds)


def node() -> str:
    """The node of a Ray cluster that a child is on: the process that speaks for it."""
    return os.environ["RAY_RAYLET_PID"]


class SlowNode(Sums):
    """Sums in so many seconds a task; on the node that comes first, in so many more."""

    def __init__(self, setup: Json) -> None:
        super().__init__(setup)
        first = Path(setup["notes"]) / "slow"
        with suppress(FileExistsError), first.open("x") as file:
            file.write(node())
        self._seconds = setup["seconds"] + (setup["more"] if first.read_text() == node() else 0)

    def run(self, task: Json, at: At) -> Json:
        time.sleep(self._seconds)
        return super().run(task, at)


class Nodes(Sums):
    """Sums, and notes on which node each task is split and each partition reduced; either takes a second."""

    def __init__(self, setup: Json) -> None:
        super().__init__(setup)
        self._notes = setup["notes"]

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        note(self._notes, f"split-{task['numbers'][0]}-{node()}")
        time.sleep(1)
        yield from super().split(task, at)

    def reduce(self, partition: int, table: pa.Table) -> Json:
        note(self._notes, f"reduce-{partition}-{node()}")
        time.sleep(1)
        return super().reduce(partition, table)
