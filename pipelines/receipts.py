"""Receipts: which tasks are done, so that a run that was killed goes on where it was.

A done task leaves work/receipts/<phase>/<fingerprint>/<name>.json, written after its output; the fingerprint is
a digest of all that the output depends on. Before a task runs its old receipts are removed, so that one never
vouches for another's output.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pipelines.engines.step import Json
from pipelines.files import join
from pipelines.layout import Layout


@dataclass(frozen=True)
class Task:
    """One unit of a phase: its name within the phase, what its result depends on, and what to do."""

    name: str
    fingerprint: str
    body: Json = field(default_factory=dict)


class Receipts:
    """The receipts of one phase, from one listing."""

    def __init__(self, layout: Layout, phase: str) -> None:
        self._layout = layout
        self._folder = join(layout.work, "receipts", phase)
        self._present: dict[str, set[str]] = {}
        for (fingerprint, name), _ in layout.listed(f"receipts/{phase}"):
            self._present.setdefault(name, set()).add(fingerprint)

    def done(self, task: Task) -> bool:
        """Whether the task's output is there and is what its fingerprint promises."""
        return task.fingerprint in self._present.get(task.name, ())

    def clear(self, tasks: Iterable[Task]) -> None:
        """Remove what stands for the tasks' older outputs, before they are overwritten."""
        for task in tasks:
            for fingerprint in self._present.pop(task.name, ()):
                self._layout.store.remove(self._path(task.name, fingerprint))

    def forget(self, name: str) -> None:
        """Removes the receipts of a name."""
        self.clear([Task(name, "")])

    def others(self, names: Container[str]) -> list[str]:
        """Returns the other names that have receipts."""
        return [name for name in sorted(self._present) if name not in names]

    def forget_all_but(self, names: Container[str]) -> None:
        """Removes the receipts of all other names."""
        for name in self.others(names):
            self.forget(name)

    def write(self, task: Task, receipt: Json) -> None:
        """Say that the task is done."""
        text = json.dumps(receipt, sort_keys=True, ensure_ascii=False)
        path = self._path(task.name, task.fingerprint)
        self._layout.store.write_bytes(path, text.encode("utf-8", "surrogatepass"), self._layout.tmp)
        self._present.setdefault(task.name, set()).add(task.fingerprint)

    def read(self, tasks: Sequence[Task]) -> list[Json]:
        """The receipts of tasks that are done, in their order."""

        def one(task: Task) -> Json:
            body = self._layout.store.read_bytes(self._path(task.name, task.fingerprint))
            return dict(json.loads(body))

        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(one, tasks))

    def _path(self, name: str, fingerprint: str) -> str:
        return join(self._folder, fingerprint, f"{name}.json")


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
