"""The shards of a corpus, each read whole and held against what its manifest says: tasks of `vlcorpus verify`.

Whatever the engine, a task says the same of its shards. Where the engine has worker processes, a shard that ends or
stalls the one that reads it is a finding too.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engines.inline import InlineEngine
from pipelines.engines.isolation import DEATHS
from pipelines.engines.step import SEVERAL, At, Engine, Json, Limits, Step
from pipelines.files import MIB, FileInfo, Store, absolute
from pipelines.manifest import digest_of
from pipelines.watching import Each
from pipelines.writers import webdataset
from pipelines.writers.columns import SAMPLE, require_columns
from pipelines.writers.sink import Digesting
from schemas.errors import InputError, VerifyError
from schemas.manifest import Manifest
from schemas.manifest_files import LIST, Listed, Output, outputs_of, stem
from schemas.parquet import opened
from schemas.sample import Sample
from schemas.strict import FieldError

_PLACES: Final = pa.schema([SAMPLE.field("key"), SAMPLE.field("sample"), *webdataset.PLACES])

_COLUMNS: Final = pa.schema([SAMPLE.field("sample")])

_BATCH: Final = 1_000
"""So many samples are in memory at once."""

_THREADS: Final = 4
"""So many shards are read at once where the caller's own process does it."""

_WORKER: Final = "pipelines.audit.shards:CheckShards"

_SHARDS_A_TASK: Final = 8
_BYTES_A_TASK: Final = 256 * MIB
_SHARDS_AT_ONCE: Final = 512
"""So many shards, of whatever size, are one task where its threads read several of them at once."""

_LIMITS: Final = Limits(row_cpu_seconds=900, row_wall_seconds=6 * 3600)
"""What one shard may take: minutes for a hundred gigabytes."""


Kind = tuple[str, str, str, str, str, str]
"""Of views: split, group, task, source, language, licence."""


@dataclass
class ShardFindings:
    """What is wrong with the shards, in their order, and how many views of each kind they hold."""

    problems: list[str]
    views: Counter[Kind]


def check(
    engine: Engine, folder: str, store: Store, manifest: Manifest, files: Mapping[str, FileInfo]
) -> ShardFindings:
    """Returns what the files that the manifest names are, read on the engine; `files` are those that are there.

    Raises VerifyError where a worker sees another folder than the caller.
    """
    inline = isinstance(engine, InlineEngine)
    setup = {
        "folder": absolute(folder),
        "options": dict(store.options or {}),
        "manifest": digest_of(folder, store.options),
        "threads": _THREADS if inline else 1,
    }
    most = (_SHARDS_AT_ONCE, sys.maxsize) if inline else (_SHARDS_A_TASK, _BYTES_A_TASK)
    tasks = _tasks(manifest.outputs, files, most)
    found = ShardFindings([], Counter())
    step = Step("verify", _WORKER, setup, _LIMITS)
    for number, receipt in enumerate(engine.map(step, tasks)):
        verdicts, problems = receipt["verdicts"], receipt["problems"]
        for place in sorted({*verdicts, *problems}, key=int):
            if place in verdicts:
                found.problems.append(_ended(tasks[number]["shards"][int(place)], *verdicts[place]))
            found.problems += problems.get(place, ())
        for *kind, count in receipt["views"]:
            found.views[_kind(kind)] += count
    return found


def _tasks(
    outputs: Mapping[str, Output], files: Mapping[str, FileInfo], most: tuple[int, int]
) -> Sequence[Json]:
    """Returns the tasks: a few shards each, a tar with its index, so that no file is open twice.

    `most` says how many shards a task has at most, and after how many bytes it ends. A task is made when it is asked
    for.
    """
    few = list((outputs.few if isinstance(outputs, Listed) else outputs).items())
    table = outputs.table if isinstance(outputs, Listed) else LIST.empty_table()
    of_few, of_table = list(_cuts(few, *most)), list(_cuts(outputs_of(table), *most))

    def made(number: int) -> Json:
        if number < len(of_few):
            found: Iterable[tuple[str, Output]] = few[slice(*of_few[number])]
        else:
            first, last = of_table[number - len(of_few)]
            found = outputs_of(table.slice(first, last - first))
        return {"shards": [_shard(name, list(group), files) for name, group in groupby(found, _stem)]}

    return Each(range(len(of_few) + len(of_table)), made)


def _stem(one: tuple[str, Output]) -> str:
    return stem(one[0])


def _cuts(
    outputs: Iterable[tuple[str, Output]], most_shards: int, most_bytes: int
) -> Iterator[tuple[int, int]]:
    """Yields where each task's files begin and end."""
    first = last = shards = size = 0
    for _, group in groupby(outputs, _stem):
        sizes = [output.size for _, output in group]
        last, shards, size = last + len(sizes), shards + 1, size + sum(sizes)
        if shards == most_shards or size >= most_bytes:
            yield first, last
            first, shards, size = last, 0, 0
    if shards:
        yield first, last


def _shard(name: str, outputs: Sequence[tuple[str, Output]], files: Mapping[str, FileInfo]) -> Json:
    """Returns the files of one shard: what the manifest says of each, and where it and their index lie, if they do."""
    index = files.get(f"{name}.parquet")
    return {
        "index": None if index is None else absolute(index.path),
        "files": [
            {
                "name": file,
                "path": absolute(files[file].path) if file in files else None,
                "said": [output.size, output.sha256, output.rows],
            }
            for file, output in outputs
        ],
    }


def _ended(shard: Json, kind: str, message: str) -> str:
    """Returns the sentence on a shard that ends the process which reads it."""
    names = " and ".join(file["name"] for file in shard["files"])
    return f"{names}: cannot be checked: the process that reads it was lost or stopped ({message or DEATHS[kind]})"


def _kind(values: Sequence[Any]) -> Kind:
    split, group, task, source, language, licence = values
    return split, group, task, source, language, licence


class CheckShards:
    """Checks a few shards a task."""

    def __init__(self, setup: Json) -> None:
        self._store = Store(setup["options"])
        self._threads: int = setup["threads"]
        try:
            found = digest_of(setup["folder"], setup["options"])
        except VerifyError:
            found = ""
        if found != setup["manifest"]:
            raise VerifyError(
                f"a worker finds another manifest.json in {setup['folder']}, or none: give a folder that all machines "
                "share, or an s3:// or gs:// address, in which nothing is written meanwhile"
            )

    def run(self, task: Json, at: At) -> Json:
        """Returns the problems of each shard by its number in the task, and views by kind."""
        only, ended = task.get("only"), task.get("verdicts", ())
        numbers = [
            number
            for number in range(len(task["shards"]))
            if str(number) not in ended and only in (None, number)
        ]

        def one(number: int) -> tuple[list[str], Counter[Kind]]:
            at(number if self._threads == 1 else SEVERAL)
            return self._check(task["shards"][number])

        with ThreadPoolExecutor(self._threads) as pool:
            found = list((pool.map if self._threads > 1 else map)(one, numbers))
        views = sum((counts for _, counts in found), Counter[Kind]())
        return {
            "problems": {
                str(n): problems for n, (problems, _) in zip(numbers, found, strict=True) if problems
            },
            "views": [[*kind, count] for kind, count in views.items()],
        }

    def _check(self, shard: Json) -> tuple[list[str], Counter[Kind]]:
        """Returns the faults in the files of one shard, and how many views of each kind its index lists."""
        index, files = shard["index"], shard["files"]
        problems = [problem for file in files for problem in _file(self._store, file, index)]
        name = f"{stem(files[0]['name'])}.parquet"
        if index is None or not name.startswith("shards/"):
            return problems, Counter()
        return problems, _tally(self._store, name, index)


def _tally(store: Store, name: str, path: str) -> Counter[Kind]:
    """Returns how many views of each kind an index, or a Parquet shard, holds; none where it cannot be read."""
    group = name.split("/")[2]
    found = Counter[Kind]()
    try:
        with store.open(path) as file:
            rows = opened(file)
            require_columns(rows, _COLUMNS)
            for batch in rows.iter_batches(_BATCH, columns=_COLUMNS.names):
                for line in batch["sample"].to_pylist():
                    sample = Sample.from_json(line)
                    found.update(
                        (sample.split, group, view.task, sample.source, view.language, view.licence)
                        for view in sample.views
                    )
    except (pa.ArrowException, InputError, FieldError, OSError, ValueError):  # said of the file itself
        return Counter()
    return found


def _file(store: Store, file: Json, index: str | None) -> Iterator[str]:
    """Yields what is wrong with one file; `index` is that of its shard."""
    name, path = file["name"], file["path"]
    size, sha256, count = file["said"]
    if path is None:
        yield f"{name}: missing"
        return
    try:
        with store.reading(path), store.open(path) as raw:
            read = Digesting(raw)
            if name.endswith(".tar") and index is not None:
                with store.open(index) as rows:
                    yield from _members(name, read, rows, count)
            elif name.endswith(".tar"):
                yield f"{name}: its index is missing"
            while read.read(MIB):
                pass
        if name.endswith(".parquet"):
            with store.open(path) as raw:
                yield from _rows(name, raw, count)
    except InputError as error:
        yield f"{name}: {error}"
        return
    if read.size != size:
        yield f"{name}: {read.size:,} bytes, but the manifest says {size:,}"
    if read.hexdigest() != sha256:
        yield f"{name}: SHA-256 is {read.hexdigest()}, but the manifest says {sha256}"


def _rows(name: str, file: BinaryIO, count: int | None) -> Iterator[str]:
    try:
        rows = opened(file).metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        yield f"{name}: cannot be read as Parquet: {line_of(error)}"
        return
    if rows != count:
        yield f"{name}: {rows:,} rows, but the manifest says {count}"


def _members(name: str, file: Digesting, index: BinaryIO, count: int | None) -> Iterator[str]:
    """Reads the tar once, in step with its index: each member must be what its row says, where it says."""
    rows = 0
    try:
        for place in _places(opened(index)):
            rows += place.first
            if (problem := place.differs(file)) is not None:
                yield f"{name}: {problem}"
                return
    except (pa.ArrowException, OSError, ValueError) as error:
        yield f"{name}: its index cannot be followed: {line_of(error)}"
        return
    if rows != count:
        yield f"{name}: {rows:,} rows in its index, but the manifest says {count}"
    while rest := file.read(MIB):
        if rest.strip(b"\0"):
            yield f"{name}: it holds more than its index says"
            return


@dataclass(frozen=True, slots=True)
class _Place:
    """A member as the index describes it; `text` is its content where the index repeats it."""

    name: str
    offset: int
    size: int
    text: bytes | None

    @property
    def first(self) -> bool:
        """Each sample has one such member."""
        return self.text is not None

    def differs(self, file: Digesting) -> str | None:
        """Returns what is not as described; `file` must stand at the member's header, and is moved beyond it."""
        at = file.size + webdataset.BLOCK
        if self.offset != at or self.size < 0:
            return f"{self.name} should start at byte {at:,}, but its index says {self.offset:,}"
        if file.read(webdataset.BLOCK) != webdataset.header(self.name, self.size):
            return f"the header before byte {at:,} is not that of {self.name} with {self.size:,} bytes"
        if self.text is not None and (self.size != len(self.text) or file.read(self.size) != self.text):
            return f"{self.name} is not the sample in its index"
        left = (0 if self.text is not None else self.size) + webdataset.padding(self.size)
        while left > 0:
            block = file.read(min(left, MIB))
            if not block:
                return f"it ends inside {self.name}"
            left -= len(block)
        return None


def _places(index: pq.ParquetFile) -> Iterator[_Place]:
    require_columns(index, _PLACES)
    for batch in index.iter_batches(batch_size=1024, columns=_PLACES.names):
        for row in batch.to_pylist():
            known = [value for image in row["images"] for name, value in image.items() if name != "url"]
            if None in (*row.values(), *known):
                raise ValueError("it leaves a place open")
            yield _Place(f"{row['key']}.json", row["json_offset"], row["json_size"], row["sample"].encode())
            for image in row["images"]:
                yield _Place(image["member"], image["offset"], image["size"], None)


def line_of(error: Exception) -> str:
    """Returns what an error says, on one line."""
    return " ".join(str(error).split())[:300]
