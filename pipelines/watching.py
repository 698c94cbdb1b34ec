"""Between a build and its engine: what tasks write is noted and brought to the disk, what they read is vouched for.

So no phase has to say which files it wrote, and none waits for the disk.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Generic, TypeVar, overload

from pipelines.engines.step import Done, Engine, Json, Kept, Step
from pipelines.layout import Layout, Name
from pipelines.phases.table import PHASES, phase
from pipelines.receipts import Found

_AT_ONCE: Final = 8
_WAITING: Final = 256
"""Tasks whose files are on their way to the disk: where workers write faster than it takes, they wait."""
_OWNERS: Final = {folder: one for one in reversed(PHASES) for folder in one.writes}
"""By a folder of work/ the phase that writes it first."""


class Watching:
    """An engine whose tasks are told what they may believe of their inputs; notes what they wrote.

    `results` are the receipts of the phases that are done, by phase and name.
    """

    def __init__(self, engine: Engine, layout: Layout, results: Mapping[str, Found]) -> None:
        self._engine = engine
        self._layout = layout
        self._results = results
        self._indexed: dict[str, tuple[Found, dict[str, str]]] = {}
        self._outputs: list[Json] = []

    def open(self, layout: Layout) -> None:
        """Gets the engine ready."""
        self._engine.open(layout)

    def close(self) -> None:
        """Ends what the engine started."""
        self._engine.close()

    def watched(self, work: Callable[[], Json]) -> tuple[Json, list[Json]]:
        """Returns what `work` returns, and what the tasks wrote that it had done."""
        self._outputs = []
        receipt = work()
        outputs, self._outputs = self._outputs, []
        return receipt, outputs

    def map(
        self, step: Step, tasks: Sequence[Json], done: Done | None = None, weights: Sequence[float] = ()
    ) -> list[Json]:
        """Returns the receipts in the order of the tasks, without what they wrote."""
        return [self._noted(one) for one in self._engine.map(step, self._told(step, tasks), done, weights)]

    def map_watched(self, step: Step, tasks: Sequence[Json], done: Done, weights: Sequence[float]) -> None:
        """Calls `done` with each receipt, which says what its task wrote."""

        def whole(index: int, receipt: Json) -> None:
            outputs = self._named(receipt)
            rest = {name: value for name, value in receipt.items() if name != "outputs"}
            done(index, rest | {"outputs": outputs} if outputs else rest)
            receipt.clear()  # the engine keeps it until the last task is done, and nobody asks for it

        self._engine.map(step, self._told(step, tasks), whole, weights)

    def shuffle(
        self, step: Step, tasks: Sequence[Json], partitions: int, kept: Kept | None = None
    ) -> list[Json]:
        """Returns the receipts of the partitions that hold rows, without what they wrote."""
        told = self._told(step, tasks)
        return [self._noted(one) for one in self._engine.shuffle(step, told, partitions, kept)]

    def _noted(self, receipt: Json) -> Json:
        self._outputs += self._named(receipt)
        receipt.pop("outputs", None)
        return receipt

    def _named(self, receipt: Json) -> list[Json]:
        """Returns the outputs of a receipt by their names below the corpus; files elsewhere are left out."""
        top = self._layout.at("")
        own = [one for one in receipt.get("outputs", ()) if one["name"].startswith(top)]
        for one in own:
            one["name"] = one["name"].removeprefix(top)
        return own

    def _told(self, step: Step, tasks: Sequence[Json]) -> Sequence[Json]:
        reads = phase(step.name).reads
        owners = {_OWNERS[folder].name for folder in reads if folder in _OWNERS}
        self._indexed = {name: one for name, one in self._indexed.items() if name in owners}

        def with_digests(task: Json) -> Json:
            """Adds the digests of the files that the task reads."""
            believed = self._believed(reads, task)
            return {**task, "believed": believed} if believed else task

        return Each(tasks, with_digests)

    def _believed(self, reads: Iterable[str], task: Json) -> dict[str, str]:
        """Returns the digests of what a task may read, by path: the files of the input shards that it names."""
        names = sorted(set(input_shards_of(task)))
        found = {}
        for folder in reads:
            for name in names:
                file = self._layout.file_of(folder, *name)
                if (digest := self._digest(folder, name, file)) is not None:
                    found[self._layout.at(file)] = digest
        return found

    def _digest(self, folder: str, name: Name, file: str) -> str | None:
        owner = _OWNERS.get(folder)
        if owner is None:
            return None
        if (found := self._results.get(owner.name)) is None:
            return None
        if owner.by_shard:
            outputs = found.outputs(name)
            return next((one["digest"] for one in outputs if one["name"] == file), None)
        known, index = self._indexed.get(owner.name, (None, {}))
        if known is not found:
            index = {one["name"]: one["digest"] for each in found for one in found.outputs(each)}
            self._indexed[owner.name] = found, index
        return index.get(file)


def input_shards_of(task: Json, source: str | None = None) -> Iterator[Name]:
    """Yields the input shards that a task names, at any depth; one without its source has that of the task around."""
    source = task.get("source", source)
    if isinstance(source, str):
        shards = task.get("shards")
        named = [task.get("shard"), *(shards if isinstance(shards, list) else ())]
        yield from ((source, one) for one in named if isinstance(one, str))
    for value in task.values():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from input_shards_of(one, source)


Made = TypeVar("Made")
Of = TypeVar("Of")


class Each(Sequence[Made], Generic[Of, Made]):
    """What is made of each item of a sequence, when it is asked for."""

    def __init__(self, items: Sequence[Of], make: Callable[[Of], Made]) -> None:
        self._items, self._make = items, make

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, at: int) -> Made: ...
    @overload
    def __getitem__(self, at: slice) -> list[Made]: ...
    def __getitem__(self, at: int | slice) -> Made | list[Made]:
        if isinstance(at, slice):
            return [self._make(one) for one in self._items[at]]
        return self._make(self._items[at])


class Flush:
    """Brings what tasks wrote to the disk while other tasks run; a task's receipt is written after its files are safe.

    At its end all files are safe, and the names of them in their folders.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._waiting: deque[tuple[Future[None], Callable[[], None]]] = deque()
        self._folders: set[str] = set()
        self._local = layout.is_local

    def __enter__(self) -> "Flush":
        self._pool = ThreadPoolExecutor(_AT_ONCE, "flush")
        return self

    def then(self, outputs: Iterable[Json], write: Callable[[], None]) -> None:
        """Calls `write` in this thread, now or later, when these files are on the disk."""
        names = [output["name"] for output in outputs] if self._local else []
        if not names and not self._waiting:
            return write()
        self._waiting.append((self._pool.submit(self._sync, names), write))
        self._folders.update(name.rpartition("/")[0] for name in names)
        while self._waiting and (len(self._waiting) > _WAITING or self._waiting[0][0].done()):
            self._next()

    def _sync(self, names: Iterable[str]) -> None:
        for name in names:
            self._layout.store.sync(self._layout.at(name))

    def _next(self) -> None:
        synced, write = self._waiting.popleft()
        synced.result()
        write()

    def __exit__(self, *_: Any) -> None:
        with self._pool:
            while self._waiting:
                self._next()
            above = {
                "/".join(parts[:depth])
                for parts in (folder.split("/") for folder in self._folders)
                for depth in range(len(parts) + 1)
            }
            for one in [self._pool.submit(self._sync, [folder]) for folder in sorted(above)]:
                one.result()
