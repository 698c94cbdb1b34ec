"""Receipts: which tasks are done, so that a run that was killed goes on where it was.

A done task leaves its receipt in a segment of work/receipts/<phase> (pipelines/segments.py), written after its output,
with its fingerprint, a digest of all that the output depends on. Before a task runs its old receipt is removed, so that
one never vouches for another's output.

A receipt says what it vouches for: `outputs` has of each file its name, size, rows and digest. It is believed only
where it is whole itself and its outputs lie there as it says; else the task is done again. That takes one listing of
each folder of outputs; a file is read only where it changed since it was written.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import (
    Callable,
    Container,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    ValuesView,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar, cast

from pipelines.engines.step import Json
from pipelines.files import FileInfo, join, shown
from pipelines.layout import Layout, Name, name_of, text_of
from pipelines.outputs import Output, difference
from pipelines.phases.table import PHASES
from pipelines.segments import Segments, bytes_of, parsed
from schemas.manifest import MANIFEST, MAX_BYTES

WHOLE: Final = "all"
"""The name of the one task of a phase that is not done task by task."""

_AT_ONCE: Final = 16


_NOTHING: Final = cast(Json, MappingProxyType({}))
"""The body of all tasks that have none of their own: none of them can be written into."""


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of a phase: its name within the phase, what its result depends on, and what to do.

    A phase that makes the bodies of its tasks when it is their turn gives none here.
    """

    name: str
    fingerprint: str
    body: Json = field(default_factory=lambda: _NOTHING)


class Damage(NamedTuple):
    """What is wrong with what tasks left: an output ("" for a file of receipts), and a sentence."""

    output: str
    text: str


class Disk:
    """The files in the folders of a corpus, each of which is listed once until it is forgotten.

    Who removes a file of a folder that may be listed already has it forgotten.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folders: dict[str, dict[str, tuple[int, str]]] = {}

    def find(self, name: str) -> FileInfo | None:
        """Returns the file of that name below the corpus's folder, as its folder was listed."""
        found = self.stamped(name)
        return None if found is None else FileInfo(self._layout.at(name), name, *found)

    def stamped(self, name: str) -> tuple[int, str] | None:
        """Returns the size and the stamp of the file of that name, None where there is none."""
        folder = _folder_of(name)
        if folder == name:  # right in the corpus's folder, which holds too much to be listed
            entry = self._layout.store.entry(self._layout.at(name))
            return None if entry is None else (entry.info.size, entry.info.stamp)
        return self._files(folder).get(name)

    def names(self, folder: str) -> Iterable[str]:
        """Returns the names of the files in a folder of work/."""
        return self._files(f"work/{folder}").keys()

    def _files(self, folder: str) -> dict[str, tuple[int, str]]:
        if folder not in self._folders:
            place, store = join(self._layout.out, folder), self._layout.store
            there = store.list_files(place) if store.is_folder(place) else ()
            self._folders[folder] = {f"{folder}/{info.name}": (info.size, info.stamp) for info in there}
        return self._folders[folder]

    def forget(self, names: Iterable[str]) -> None:
        """Has the folders of these files listed anew when they are asked about."""
        for name in names:
            self._folders.pop(_folder_of(name), None)


def _folder_of(name: str) -> str:
    """Returns work/<folder> of a file below work/, else the first part of its name."""
    first, _, rest = name.partition("/")
    return f"work/{rest.partition('/')[0]}" if first == "work" else first


class Receipts:
    """The receipts of one phase, one a name; `disk` says what lies in the folders of its outputs.

    `files` are the names of the files in its folder, from `listed`; without them that folder is listed.
    """

    def __init__(
        self, layout: Layout, phase: str, disk: Disk | None = None, files: Iterable[str] | None = None
    ) -> None:
        self._layout = layout
        self._phase = phase
        self._disk = disk or Disk(layout)
        own = {f"work/{folder}" for one in PHASES if one.name == phase for folder in one.folders}
        self._of_others = {f"work/{folder}" for one in PHASES for folder in one.folders} - own
        self._believed: set[str] = set()
        folder = join(layout.work, "receipts", phase)
        if files is None:
            files = [info.name for _, info in layout.listed(f"receipts/{phase}")]
        self._kept = Segments(layout, folder, files, self._older)
        self._values = self._kept.values

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def check(self, tasks: Iterable[Task]) -> list[Damage]:
        """Holds the receipts of tasks against what lies there; returns what is damaged.

        A receipt that is not believed is removed, and so are an output that is not as its receipt says, and a file of
        receipts that is not as it was written.
        """
        found = [Damage("", f"{name}, a file of receipts, is damaged") for name in self.damaged]
        self._kept.remove_damaged()
        return found + self._held(tasks)

    @property
    def damaged(self) -> list[str]:
        """The names of files of receipts that are not what was written there."""
        return [shown(path.removeprefix(self._layout.at(""))) for path in self._kept.damaged]

    def _held(self, tasks: Iterable[Task]) -> list[Damage]:
        """Believes the receipts of tasks whose outputs lie there as they say, forgets the others."""
        asked = [task.name for task in tasks if self._is_listed(task) and task.name not in self._believed]
        touched = [name for name in asked if not self._is_untouched(name)]
        self._believed.update(asked)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(touched, pool.map(self._differences, touched), strict=True))
        self._clear([name for name, damages in found.items() if damages])
        self._set_outputs({name: self._as_stamped(name) for name, damages in found.items() if not damages})
        return [damage for damages in found.values() for damage in damages]

    def _is_untouched(self, name: str) -> bool:
        """Returns whether the outputs of a name have the sizes and stamps that its receipt says."""
        return all(
            self._disk.stamped(one["name"]) == (one["size"], one["stamp"]) for one in self.outputs(name)
        )

    def _differences(self, name: str) -> list[Damage]:
        """Returns what is wrong with the outputs of a name, and removes those."""
        found = []
        for output in map(Output.from_json, self.outputs(name)):
            info = self._disk.find(output.name)
            what = difference(self._layout.store, output, info)
            if what is not None:
                found.append(Damage(output.name, f"{shown(output.name)} {what}"))
                # what another phase writes too is not this one's to remove
                if info is not None and _folder_of(output.name) not in self._of_others:
                    self._layout.store.remove(info.path)
        return found

    def _as_stamped(self, name: str) -> list[Json]:
        """Returns the outputs of a name with the stamps that they have now."""
        found = ((output, self._disk.find(output["name"])) for output in self.outputs(name))
        return [{**output, "stamp": info.stamp} if info else output for output, info in found]

    def _is_listed(self, task: Task) -> bool:
        value = self._values.get(task.name)
        return value is not None and _fingerprint_in(value) == task.fingerprint

    def done(self, task: Task) -> bool:
        """Returns whether the task's output is there and is what its fingerprint promises."""
        if not self._is_listed(task):
            return False
        if task.name not in self._believed:
            self._held([task])
        return task.name in self._believed

    def fingerprint(self, name: str) -> str:
        """Returns the fingerprint in the receipt of a name, "" where it has none."""
        return _fingerprint_in(self._values.get(name, b""))

    def outputs(self, name: str) -> list[Json]:
        """Returns what the receipt of a name vouches for; nothing where there is none."""
        return _outputs_in(value) if (value := self._values.get(name)) else []

    def last(self, name: str) -> Json:
        """Returns the receipt that a name has of whatever fingerprint, without `outputs`; {} where it has none.

        It is not held against its outputs.
        """
        return _receipt_in(value) if (value := self._values.get(name)) else {}

    def clear(self, tasks: Iterable[Task], *, synced: bool = False) -> None:
        """Remove what stands for the tasks' older outputs, before they are overwritten."""
        self._clear([task.name for task in tasks], synced=synced)

    def _clear(self, names: Iterable[str], *, synced: bool = False) -> None:
        gone = [name for name in names if name in self._values]
        self._believed.difference_update(gone)
        self._kept.remove(gone, synced=synced)

    def forget(self, name: str) -> None:
        """Removes the receipt of a name."""
        self._clear([name])

    def others(self, names: Container[str]) -> list[str]:
        """Returns the other names that have receipts."""
        return [name for name in sorted(self._values) if name not in names]

    def forget_all_but(self, names: Container[str]) -> None:
        """Removes the receipts of all other names."""
        self._clear(self.others(names))

    def write(self, task: Task, receipt: Json) -> None:
        """Say that the task is done."""
        self._kept.set({task.name: _value(task.fingerprint, receipt)})
        self._believed.add(task.name)
        self._disk.forget(output["name"] for output in receipt.get("outputs", ()))

    def gathering(self) -> AbstractContextManager[None]:
        """Within it receipts written at nearly the same time come into one file; a kill may lose the latest."""
        return self._kept.gathering()

    def merge(self) -> None:
        """Merges the files of receipts where there are many small ones."""
        self._kept.merge()

    def read(self, tasks: Sequence[Task]) -> list[Json]:
        """Returns the receipts of tasks that are done, in their order."""
        return [self.last(task.name) for task in tasks]

    def of(self, names: Iterable[str]) -> "Found":
        """Returns the receipts of these names."""
        return Found(self._values, tuple(names))

    def fingerprints(self, names: Iterable[str]) -> "View[str]":
        """Returns the fingerprints of these names."""
        return View(self._values, tuple(names), _fingerprint_in)

    def amend(self, outputs: Mapping[str, Sequence[Json]]) -> None:
        """Has the receipts of names vouch for these files, which another task wrote in the stead of their own."""
        amended = {}
        for name, fresh in outputs.items():
            new = {output["name"]: output for output in fresh}
            self._disk.forget(new)
            amended[name] = [new.get(one["name"], one) for one in self.outputs(name)]
        self._set_outputs(amended)

    def _set_outputs(self, outputs: Mapping[str, Sequence[Json]]) -> None:
        values = {name: self._values.get(name) for name in outputs}
        parts = {name: value.split(b"\t", 2) for name, value in values.items() if value and outputs[name]}
        changed = {
            name: b"\t".join((mark, _json(outputs[name]), rest)) for name, (mark, _, rest) in parts.items()
        }
        self._kept.set({name: value for name, value in changed.items() if value != values[name]})

    def _older(self, file: str, data: bytes) -> tuple[str, bytes] | None:
        """Returns name and value of a receipt in a file FINGERPRINT/NAME.json, as earlier versions wrote it."""
        place = f"{self._phase}/{file.removesuffix('.json')}".encode("utf-8", "surrogatepass")
        seal, rest = data[len(_OPEN) : len(_OPEN) + 32], data[len(_OPEN) + 33 :]
        body = b"{" + rest.removeprefix(b", ")
        digest = hashlib.blake2b(body, digest_size=16, key=hashlib.blake2b(place).digest()).hexdigest()
        if not data.startswith(_OPEN) or seal != digest.encode():
            return None
        receipt: Json = json.loads(body)
        mark, name = name_of(file.removesuffix(".json"))
        return name, _value(mark, receipt)


_OPEN: Final = b'{"seal": "'


def _fingerprint_in(value: bytes) -> str:
    """Returns the fingerprint in a receipt as it is kept."""
    return value.partition(b"\t")[0].decode()


def _outputs_in(value: bytes) -> list[Json]:
    outputs = value.split(b"\t", 2)[1]
    found: list[Json] = parsed(outputs) if outputs else []
    return found


def _receipt_in(value: bytes) -> Json:
    receipt: Json = parsed(value.split(b"\t", 2)[2])
    return receipt


def _value(fingerprint: str, receipt: Json) -> bytes:
    """Returns a receipt as it is kept: its parts stand apart, so that a part can be read alone. JSON holds no tab."""
    outputs = _json(receipt["outputs"]) if "outputs" in receipt else b""
    rest = {name: value for name, value in receipt.items() if name != "outputs"}
    return b"\t".join((fingerprint.encode(), outputs, _json(rest)))


_PLAIN: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _json(value: Any) -> bytes:
    return _PLAIN.encode(value).encode("utf-8", "surrogatepass")


T = TypeVar("T")


class View(Mapping[Name, T]):
    """What receipts say, by the names of input shards; read when it is asked for, so that nothing is held twice.

    It has the names that were given, in their order, without those that have no receipt any more.
    """

    def __init__(self, values: Mapping[str, bytes], names: Sequence[str], read: Callable[[bytes], T]) -> None:
        self._values, self._names, self._read = values, names, read

    def __getitem__(self, name: Name) -> T:
        value = self._values.get(text_of(name))
        if value is None:
            raise KeyError(name)
        return self._read(value)

    def __iter__(self) -> Iterator[Name]:
        return (name_of(name) for name in self._names if name in self._values)

    def __len__(self) -> int:
        return sum(1 for name in self._names if name in self._values)

    def items(self) -> ItemsView[Name, T]:
        """Returns the names with what is read for them; it looks up each once."""
        return _Items(self)

    def values(self) -> ValuesView[T]:
        """Returns what is read for each name, in the order of the names."""
        return _Values(self)

    def each(self) -> Iterator[tuple[str, T]]:
        """Yields the text of each name with what is read for it."""
        for name in self._names:
            if (value := self._values.get(name)) is not None:
                yield name, self._read(value)


class _Items(ItemsView[Name, T]):
    def __init__(self, view: View[T]) -> None:
        super().__init__(view)
        self._view = view

    def __iter__(self) -> Iterator[tuple[Name, T]]:
        return ((name_of(text), one) for text, one in self._view.each())


class _Values(ValuesView[T]):
    def __init__(self, view: View[T]) -> None:
        super().__init__(view)
        self._view = view

    def __iter__(self) -> Iterator[T]:
        return (one for _, one in self._view.each())


class Found(View[Json]):
    """The receipts of a phase, without `outputs`."""

    def __init__(self, values: Mapping[str, bytes], names: Sequence[str]) -> None:
        super().__init__(values, names, _receipt_in)

    def outputs(self, name: Name) -> list[Json]:
        """Returns what the receipt of a name vouches for; nothing where there is none."""
        return _outputs_in(value) if (value := self._values.get(text_of(name))) else []

    def writers(self) -> dict[str, str]:
        """Returns by each file that the receipts vouch for the name of the task that wrote it."""
        found = ((name, self._values.get(name)) for name in self._names)
        return {one["name"]: name for name, value in found if value for one in _outputs_in(value)}


def packed(receipts: Json) -> View[Json]:
    """Returns receipts, given by the text of their names, in an eighth of the memory; takes them out of `receipts`."""
    values = {name: _json(receipts.pop(name)) for name in [*receipts]}
    return View(values, tuple(values), parsed)


def listed(layout: Layout) -> dict[str, list[str]]:
    """Returns the names of the files of receipts by phase, from one listing."""
    found: dict[str, list[str]] = {}
    for _, info in layout.listed("receipts"):
        phase, _, file = info.name.partition("/")
        found.setdefault(phase, []).append(file)
    return found


UNFINISHED: Final = (
    "has changed since its manifest was written, by a run that did not come to its end or by one phase alone: run the "
    "command that builds it again to go on"
)


def is_finished(layout: Layout, card: Receipts | None = None) -> bool:
    """Returns whether the manifest is that of what lies in a corpus: of its last run, which came to its end.

    A corpus without receipts, such as a copy without work/, is what its manifest says. `card` are the receipts of phase
    card, where they are read already.
    """
    manifest = bytes_of(layout.store, layout.at(MANIFEST), MAX_BYTES)
    if manifest is None:
        return False
    if not layout.store.is_folder(join(layout.work, "receipts")):
        return True
    receipts = Receipts(layout, "card") if card is None else card
    return receipts.last(WHOLE).get("manifest") == hashlib.sha256(manifest).hexdigest()


def fingerprint(*parts: Any) -> str:
    """32 hex digits over JSON-able values: equal values, equal digits."""
    text = _PLAIN.encode(parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """The installed versions of the named distributions, by name."""
    return {name: _version(name) for name in sorted(set(libraries))}


@cache
def _version(library: str) -> str:
    """Returns the version of a distribution, which is parsed from its metadata once a process."""
    return importlib.metadata.version(library)
