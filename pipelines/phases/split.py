"""Phase split: finds the parts of large annotation files in one pass, so that each is then read by itself.

Of a single file of JSON lines it notes at which byte and line each part starts. Other files (JSON documents, joined
with each other) it reads whole, once, set after set, and writes the records of each part: those of the same images.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

from pipelines.datasets.dataset import unique
from pipelines.datasets.records import FileError, is_utf8, jsonl, lines
from pipelines.datasets.table import find
from pipelines.engines.step import IDLE, At, Json
from pipelines.files import OF_PROCESS, Digests, Store
from pipelines.layout import Layout
from pipelines.receipts import Task, fingerprint
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, identity
from pipelines.sources.annotations import is_part, meant, packed, part_of, paths_of, records_of

if TYPE_CHECKING:
    from pipelines.build import Build


def split_tasks(
    recipe: Recipe, shards: Mapping[tuple[str, str], InputShard], digests: Digests = OF_PROCESS
) -> list[Task]:
    """Returns a task for each source whose files are read in parts."""
    parts: dict[str, list[InputShard]] = {}
    for shard in shards.values():
        if is_part(shard):
            parts.setdefault(shard.source, []).append(shard)
    tasks = []
    for name, own in parts.items():
        source = recipe.source(name)
        held = identity(own[0], source, source.storage_options, digests)
        mark = fingerprint("split", 3, [one.format for one in source.sets], len(own), held)
        body: Json = {"shard": name_for(name), "parts": [shard.to_json() for shard in own]}
        tasks.append(Task(body["shard"], mark, body))
    return tasks


def name_for(source: str) -> str:
    """Returns the name of a source's task, which finds all its parts."""
    return f"{source}/all"


def run(build: "Build") -> None:
    """Finds the parts of large annotation files, where they are not known yet."""
    tasks = split_tasks(build.recipe, build.shards, build.digests)
    build.receipts("split").forget_all_but({task.name for task in tasks})
    if tasks:
        build.map("split", tasks)


class Split:
    """Finds the parts of one source a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])

    def run(self, task: Json, at: At) -> Json:
        """Writes a file for each part; where the source's files are damaged that of the first part says so."""
        at(IDLE)
        parts = [InputShard.from_json(part) for part in task["parts"]]
        source = self._recipe.source(parts[0].source)
        store = Store(source.storage_options or None, source.id)
        suggested = [meant(source, one, store) for one in source.sets]
        if _is_cut_by_bytes(source, store):
            with store.open(parts[0].path) as file:
                self._write_starts(parts, file, suggested)
        else:
            self._write_records(parts, source, store, suggested)
        return {"rows": 0}

    def _write_starts(self, parts: list[InputShard], file: BinaryIO, suggested: list[str]) -> None:
        """Notes for each part the first line that starts at or after its share of the bytes."""
        starts = [(0, 0)]
        place = number = 0
        size = sum(part.size for part in parts)
        for number, line in enumerate(file, 1):
            place += len(line)
            while len(starts) < len(parts) and place >= size * len(starts) // len(parts):
                starts.append((place, number))
        starts += [(place, number)] * (len(parts) + 1 - len(starts))
        for part, ((start, line_number), (stop, _)) in zip(parts, pairwise(starts), strict=True):
            self._write(part, {"meant": suggested, "start": start, "stop": stop, "line": line_number})

    def _write_records(
        self, parts: list[InputShard], source: Source, store: Store, suggested: list[str]
    ) -> None:
        target, tmp = self._layout.store, self._layout.tmp
        with ExitStack() as stack:
            paths = [
                stack.enter_context(
                    target.write_atomic(self._layout.path("parts", part.source, part.shard), tmp)
                )
                for part in parts
            ]
            files = [stack.enter_context(open(path, "wb")) for path in paths]
            for file in files:
                file.write(json.dumps({"meant": suggested}).encode() + b"\n")
            damage: list[str] = []
            for number, one in enumerate(source.sets):
                dataset = find(one.format)[0]
                for record in unique(records_of(source, one, store, damage)):
                    files[part_of(record, dataset, len(files))].write(packed(number, record))
            if damage:
                files[0].write(json.dumps({"damage": damage}).encode() + b"\n")

    def _write(self, part: InputShard, first: Json) -> None:
        data = json.dumps(first).encode() + b"\n"
        self._layout.store.write_bytes(
            self._layout.path("parts", part.source, part.shard), data, self._layout.tmp
        )


def _is_cut_by_bytes(source: Source, store: Store) -> bool:
    """Returns whether the source is a single file of JSON lines in UTF-8."""
    one = source.sets[0]
    if len(source.sets) > 1 or find(one.format)[0].records is not lines:
        return False
    paths = paths_of(source, one, store)
    if len(paths) > 1:
        return False
    with store.open(paths[0]) as file:
        try:
            return is_utf8(file) and bool(next(jsonl(file), True))
        except FileError:  # it is one document, say
            return False
