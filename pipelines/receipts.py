"""Receipts: which tasks are done, so that a run that was killed goes on where it was.

A done task leaves work/receipts/<phase>/<fingerprint>/<name>.json, written after its output; the fingerprint is
a digest of all that the output depends on. Before a task runs its old receipts are removed, so that one never
vouches for another's output.

A receipt says what it vouches for: `outputs` has of each file its name, size, rows and digest. It is believed only
where it is whole itself and its outputs lie there as it says; else the task is done again. That takes one listing of
each folder of outputs; a file is read only where it changed since it was written.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, NamedTuple

from pipelines.engines.step import Json
from pipelines.files import FileInfo, join, shown
from pipelines.layout import Layout
from pipelines.outputs import Output, difference
from pipelines.phases.table import PHASES
from schemas.errors import InputError
from schemas.manifest import MAX_BYTES

WHOLE: Final = "all"
"""The name of the one task of a phase that is not done task by task."""

_AT_ONCE: Final = 16


@dataclass(frozen=True)
class Task:
    """One unit of a phase: its name within the phase, what its result depends on, and what to do."""

    name: str
    fingerprint: str
    body: Json = field(default_factory=dict)


class Damage(NamedTuple):
    """What is wrong with what a task left: the file ("" for the receipt itself), and a sentence."""

    task: str
    output: str
    text: str


class Disk:
    """The files in the folders of a corpus, each of which is listed once until it is forgotten."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folders: dict[str, dict[str, FileInfo]] = {}

    def find(self, name: str) -> FileInfo | None:
        """Returns the file of that name below the corpus's folder, as its folder was listed."""
        folder, store = _folder_of(name), self._layout.store
        if folder == name:  # right in the corpus's folder, which holds too much to be listed
            path = self._layout.at(name)
            return store.info(path) if store.exists(path) else None
        if folder not in self._folders:
            place = join(self._layout.out, folder)
            there = store.list_files(place) if store.is_folder(place) else ()
            self._folders[folder] = {f"{folder}/{info.name}": info for info in there}
        return self._folders[folder].get(name)

    def forget(self, names: Iterable[str]) -> None:
        """Has the folders of these files listed anew when they are asked about."""
        for name in names:
            self._folders.pop(_folder_of(name), None)


def _folder_of(name: str) -> str:
    """Returns work/<folder> of a file below work/, else the first part of its name."""
    parts = name.split("/")
    return "/".join(parts[:2] if parts[0] == "work" else parts[:1])


class Receipts:
    """The receipts of one phase, from one listing; `disk` says what lies in the folders of its outputs."""

    def __init__(self, layout: Layout, phase: str, disk: Disk | None = None) -> None:
        self._layout = layout
        self._phase = phase
        self._disk = disk or Disk(layout)
        self._folder = join(layout.work, "receipts", phase)
        own = {f"work/{folder}" for one in PHASES if one.name == phase for folder in one.folders}
        self._of_others = {f"work/{folder}" for one in PHASES for folder in one.folders} - own
        self._present: dict[str, set[str]] = {}
        self._believed: dict[str, tuple[str, Json]] = {}
        for (fingerprint, name), _ in layout.listed(f"receipts/{phase}"):
            self._present.setdefault(name, set()).add(fingerprint)

    def check(self, tasks: Iterable[Task]) -> list[Damage]:
        """Reads the receipts of tasks and holds them against what lies there; returns what is damaged.

        A receipt that is not believed is removed, and so is an output that is not as its receipt says.
        """
        asked = [task for task in tasks if self._is_listed(task) and task.name not in self._believed]
        for name in {output["name"] for task in asked[:1] for output in self._outputs_of(task)}:
            self._disk.find(name)  # lists the folder once, before threads ask for it
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [damage for found in pool.map(self._check, asked) for damage in found]

    def _outputs_of(self, task: Task) -> list[Json]:
        receipt = self._parsed(task.name, task.fingerprint)
        return list((receipt or {}).get("outputs", ()))

    def _check(self, task: Task) -> list[Damage]:
        receipt = self._parsed(task.name, task.fingerprint)
        if receipt is None:
            self.forget(task.name)
            return [Damage(task.name, "", f"the receipt of {shown(task.name)} is damaged")]
        outputs = [Output.from_json(one) for one in receipt.get("outputs", ())]
        there = [self._disk.find(output.name) for output in outputs]
        wrong = [difference(self._layout.store, *pair) for pair in zip(outputs, there, strict=True)]
        found = []
        for output, info, what in zip(outputs, there, wrong, strict=True):
            if what is not None:
                found.append(Damage(task.name, output.name, f"{shown(output.name)} {what}"))
                # what another phase writes too is not this one's to remove
                if info is not None and _folder_of(output.name) not in self._of_others:
                    self._layout.store.remove(info.path)
        if found:
            self.forget(task.name)
            return found
        stamps = [info.stamp for info in there if info is not None]
        if stamps != [output.stamp for output in outputs]:
            pairs = zip(outputs, stamps, strict=True)
            receipt["outputs"] = [replace(output, stamp=stamp).to_json() for output, stamp in pairs]
            self._save(task, receipt)
        self._believed[task.name] = task.fingerprint, receipt
        return []

    def _is_listed(self, task: Task) -> bool:
        return task.fingerprint in self._present.get(task.name, ())

    def done(self, task: Task) -> bool:
        """Returns whether the task's output is there and is what its fingerprint promises."""
        if self._is_listed(task) and task.name not in self._believed:
            self.check([task])
        return self._believed.get(task.name, ("", {}))[0] == task.fingerprint

    def last(self, name: str) -> Json:
        """Returns the receipt that a name has of whatever fingerprint, not held against its outputs; {} without one."""
        found = (self._parsed(name, mark) for mark in sorted(self._present.get(name, ())))
        return next((receipt for receipt in found if receipt is not None), {})

    def clear(self, tasks: Iterable[Task], *, synced: bool = False) -> None:
        """Remove what stands for the tasks' older outputs, before they are overwritten."""
        for task in tasks:
            self._believed.pop(task.name, None)
            for fingerprint in self._present.pop(task.name, ()):
                self._layout.store.remove(self._path(task.name, fingerprint), synced=synced)

    def forget(self, name: str) -> None:
        """Removes the receipts of a name."""
        self.clear([Task(name, "")])

    def all(self) -> Iterator[tuple[Task, Json | None]]:
        """Yields each task that has a receipt with that receipt; None where it is not what was written there."""
        for name, fingerprints in sorted(self._present.items()):
            for fingerprint in sorted(fingerprints):
                yield Task(name, fingerprint), self._parsed(name, fingerprint)

    def others(self, names: Container[str]) -> list[str]:
        """Returns the other names that have receipts."""
        return [name for name in sorted(self._present) if name not in names]

    def forget_all_but(self, names: Container[str]) -> None:
        """Removes the receipts of all other names."""
        for name in self.others(names):
            self.forget(name)

    def write(self, task: Task, receipt: Json) -> None:
        """Say that the task is done."""
        self._save(task, receipt)
        self._present.setdefault(task.name, set()).add(task.fingerprint)
        self._believed[task.name] = task.fingerprint, receipt
        self._disk.forget(output["name"] for output in receipt.get("outputs", ()))

    def _save(self, task: Task, receipt: Json) -> None:
        """Writes a receipt. A loss of power may take it away; then its task is done again."""
        text = json.dumps(receipt, sort_keys=True, ensure_ascii=False)
        body = self._sealed(task.name, task.fingerprint, text.encode("utf-8", "surrogatepass"))
        path = self._path(task.name, task.fingerprint)
        self._layout.store.write_bytes(path, body, self._layout.tmp, scratch=True)

    def read(self, tasks: Sequence[Task]) -> list[Json]:
        """Returns the receipts of tasks that are done, in their order."""
        return [self._believed[task.name][1] for task in tasks]

    def amend(self, name: str, outputs: Sequence[Json]) -> None:
        """Has the receipt of a name vouch for these files, which another task wrote in the stead of its own."""
        new = {output["name"]: output for output in outputs}
        for fingerprint in self._present.get(name, ()):
            mark, receipt = self._believed.get(name, ("", {}))
            found = receipt if mark == fingerprint else self._parsed(name, fingerprint)
            if found is not None:
                found["outputs"] = [new.get(one["name"], one) for one in found.get("outputs", ())]
                self._save(Task(name, fingerprint), found)
        self._disk.forget(new)

    def _path(self, name: str, fingerprint: str) -> str:
        return join(self._folder, fingerprint, f"{name}.json")

    def _seal(self, name: str, fingerprint: str, body: bytes) -> bytes:
        place = f"{self._phase}/{fingerprint}/{name}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(body, digest_size=16, key=hashlib.blake2b(place).digest()).hexdigest().encode()

    def _sealed(self, name: str, fingerprint: str, body: bytes) -> bytes:
        """Returns a receipt's JSON with a digest of itself and of its place as its first value."""
        more = b", " if body != b"{}" else b""
        return _OPEN + self._seal(name, fingerprint, body) + b'"' + more + body[1:]

    def _parsed(self, name: str, fingerprint: str) -> Json | None:
        """Returns a receipt; None where it is not there, or is not what was written there."""
        try:
            data = self._layout.store.read_bytes(self._path(name, fingerprint))
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        with suppress(ValueError):
            seal, rest = data[len(_OPEN) : len(_OPEN) + 32], data[len(_OPEN) + 33 :]
            body = b"{" + rest.removeprefix(b", ")
            if data.startswith(_OPEN) and seal == self._seal(name, fingerprint, body):
                receipt: Json = json.loads(body)
                return receipt
        return None


_OPEN: Final = b'{"seal": "'


UNFINISHED: Final = (
    "has changed since its manifest was written, by a run that did not come to its end or by one phase alone: run the "
    "command that builds it again to go on"
)


def is_finished(layout: Layout) -> bool:
    """Returns whether the manifest is that of what lies in a corpus: of its last run, which came to its end.

    A corpus without receipts, such as a copy without work/, is what its manifest says.
    """
    path = layout.at("manifest.json")
    if not layout.store.exists(path):
        return False
    if not layout.store.is_folder(join(layout.work, "receipts")):
        return True
    digest = hashlib.sha256(layout.store.read_bytes(path, MAX_BYTES)).hexdigest()
    return Receipts(layout, "card").last(WHOLE).get("manifest") == digest


def fingerprint(*parts: Any) -> str:
    """32 hex digits over JSON-able values: equal values, equal digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """The installed versions of the named distributions, by name."""
    return {name: _version(name) for name in sorted(set(libraries))}


@cache
def _version(library: str) -> str:
    """Returns the version of a distribution, which is parsed from its metadata once a process."""
    return importlib.metadata.version(library)
