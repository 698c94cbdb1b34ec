"""Phase shard: samples with their pictures' bytes, planned from counts and written one shard a task."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from filters.picture import Pictures, PictureSettings
from filters.resize import Resize, resized
from pipelines.datasets.drafts import scaled
from pipelines.engines.step import At, Json
from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.parquet import read_table
from pipelines.phases.compose import SAMPLES
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, fetch, options_of
from pipelines.sources.annotations import find_image
from pipelines.sources.table import KINDS
from pipelines.writers import parquet, webdataset
from pipelines.writers.columns import Item
from pipelines.writers.sink import Written
from schemas.errors import RowError
from schemas.sample import TASKS, Image, Sample

if TYPE_CHECKING:
    from pipelines.build import Build

Place = tuple[int, int]
"""Offset and size of a picture in the scratch file."""

EXTRA = ("url", "phash", "language_score", "clip_score")


@dataclass(frozen=True, order=True)
class Stratum:
    """What is shared by the samples of one folder of shards."""

    split: str
    task: str
    source: str

    @property
    def folder(self) -> str:
        return f"shards/{self.split}/{self.task}/{self.source}"


@dataclass(frozen=True)
class Part:
    """The samples `start` to `stop` of one input shard's (in key order, of one stratum)."""

    shard: str
    start: int
    stop: int


@dataclass(frozen=True)
class Planned:
    """One output shard: its number in its folder, and the parts it is made of."""

    stratum: Stratum
    number: int
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        return f"{self.stratum.folder}/{self.number:05d}"


def plan(counts: Mapping[Stratum, Sequence[tuple[str, int]]], group: int, size: int) -> list[Planned]:
    """The output shards, from the samples that each input shard (in order of id) gives a stratum.

    Input shards are taken in groups of `group`; a group's samples are laid end to end and cut into
    shards of `size`, so that a change stays within its group.
    """
    planned = []
    for stratum in sorted(counts):
        shards = counts[stratum]
        number = 0
        for first in range(0, len(shards), group):
            for parts in _cut(shards[first : first + group], size):
                planned.append(Planned(stratum, number, tuple(parts)))
                number += 1
    return planned


def _cut(shards: Sequence[tuple[str, int]], size: int) -> Iterator[list[Part]]:
    parts: list[Part] = []
    room = size
    for shard, count in shards:
        start = 0
        while start < count:
            stop = min(count, start + room)
            parts.append(Part(shard, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield parts
                parts, room = [], size
    if parts:
        yield parts


def shard_fingerprint(recipe: Recipe, planned: Planned, samples: dict[str, str]) -> str:
    """What the bytes of one output shard depend on; `samples` are the fingerprints of compose's tasks."""
    settings = recipe.model_dump(
        mode="json", include={"resize": True, "shards": True, "signals": {"picture"}}
    )
    parts = [(samples[part.shard], part.start, part.stop) for part in planned.parts]
    return fingerprint("shard", 1, settings, planned.name, parts, versions(["pillow", "pyarrow"]))


class WriteShard:
    """Writes one output shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._pictures = Pictures(self._recipe.signals[PictureSettings])

    def run(self, task: Json, at: At) -> Json:
        """The receipt lists the files written: name, size, SHA-256, rows."""
        path = self._layout.at(task["name"])
        with self._layout.store.scratch(path) as scratch:
            samples = Gathered(scratch)
            for part in task["parts"]:
                self._gather(task, part, samples)
            files = self._write(task["name"], samples.items(self._recipe.resize), TASKS[task["task"]].images)
        return {"files": files, "samples": len(samples), "bytes": sum(file["size"] for file in files)}

    def _gather(self, task: Json, part: Json, samples: "Gathered") -> None:
        """Read a part's samples and copy their pictures into the scratch file."""
        table = read_table(self._layout, self._layout.path("samples", task["source"], part["shard"]))
        mine = pc.and_(pc.equal(table["task"], task["task"]), pc.equal(table["split"], task["split"]))
        rows = table.filter(mine).slice(part["start"], part["stop"] - part["start"]).to_pylist()
        source = self._recipe.source(task["source"])
        if KINDS[source.kind].annotated:
            self._gather_named(source, rows, samples)
            return
        shard = InputShard.from_json(part["input"])
        places: dict[str, tuple[int, int]] = {}
        digests: dict[str, str] = {}
        # in file order, which a disk and an object store like best
        named = {(place["member"], place["offset"]) for row in rows for place in row["places"]}
        wanted = sorted(named, key=lambda one: (one[1] or 0, one[0]))
        limits = self._recipe.read
        options = options_of(source, self._layout)
        for member, data in fetch(shard, source.columns, wanted, options, limits):
            try:
                stored = self._pictures.stored(data)
            except RowError:
                continue
            digests[member] = hashlib.sha256(stored).hexdigest()
            with self._layout.store.unpacking(task["name"]):
                places[member] = samples.keep(stored)
        for row in rows:
            members = [place["member"] for place in row["places"]]
            for member, image in zip(members, Sample.from_json(row["sample"]).images, strict=True):
                if digests.get(member) != image.sha256:
                    raise shard.changed(member)
            samples.rows.append((row, tuple(places[member] for member in members)))

    def _gather_named(self, source: Source, rows: list[dict[str, Any]], samples: "Gathered") -> None:
        """Samples whose pictures lie in a folder, by name; each is read once."""
        store = Store(source.storage_options or None, source.id)
        places: dict[str, Place] = {}
        for row in rows:
            names = [place["name"] for place in row["places"]]
            for name in names:
                if name not in places:
                    data = store.read_bytes(find_image(source, store, name))
                    places[name] = samples.keep(self._pictures.stored(data))
            samples.rows.append((row, tuple(places[name] for name in names)))

    def _write(self, name: str, items: Iterator[Item], pictures: parquet.Layout) -> list[Json]:
        extra = pa.schema([SAMPLES.field(column) for column in EXTRA])
        layout, store = self._layout, self._layout.store
        index_path = layout.at(f"{name}.parquet")
        with store.write_atomic(index_path, layout.tmp) as index, open(index, "wb") as index_file:
            if self._recipe.shards.format == "parquet":
                one = parquet.write(items, index_file, pictures, extra)
                index_file.flush()
                return [_file(f"{name}.parquet", one)]
            tar_path = layout.at(f"{name}.tar")
            with store.write_atomic(tar_path, layout.tmp) as tar, open(tar, "wb") as tar_file:
                written = webdataset.write(items, tar_file, index_file, extra)
        return [_file(f"{name}.parquet", written.index), _file(f"{name}.tar", written.tar)]


class Gathered:
    """The samples of one output shard; their pictures lie in a scratch file, not in memory."""

    def __init__(self, scratch: BinaryIO) -> None:
        self._scratch = scratch
        self._end = 0
        self.rows: list[tuple[dict[str, Any], tuple[Place, ...]]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, data: bytes) -> Place:
        """Append a picture; where it lies."""
        self._scratch.seek(self._end)
        self._scratch.write(data)
        place = (self._end, len(data))
        self._end += len(data)
        return place

    def items(self, resize: Resize | None) -> Iterator[Item]:
        """The samples in key order, their pictures read back (and resized) one by one."""
        for row, places in sorted(self.rows, key=lambda pair: str(pair[0]["key"])):
            sample = Sample.from_json(row["sample"])
            extra = {name: row[name] for name in EXTRA}
            pictures = [self._read(*place) for place in places]
            yield Item(*_fitted(sample, pictures, resize), extra)

    def _read(self, start: int, size: int) -> bytes:
        self._scratch.seek(start)
        return self._scratch.read(size)


def _fitted(sample: Sample, pictures: list[bytes], resize: Resize | None) -> tuple[Sample, list[bytes]]:
    """The sample with its pictures within the recipe's size, and its regions moved with them."""
    if resize is None or all(max(one.width, one.height) <= resize.max_side for one in sample.images):
        return sample, pictures
    images: list[Image] = []
    data: list[bytes] = []
    factors: list[tuple[float, float]] = []
    for image, picture in zip(sample.images, pictures, strict=True):
        if max(image.width, image.height) <= resize.max_side:
            images.append(image)
            data.append(picture)
            factors.append((1.0, 1.0))
            continue
        small = resized(picture, image.format, resize)
        images.append(Image(small.format, small.width, small.height, small.sha256))
        data.append(small.data)
        factors.append((small.width / image.width, small.height / image.height))
    return replace(sample, images=tuple(images), turns=scaled(sample.turns, factors)), data


def _file(name: str, written: Written) -> Json:
    return {"name": name, **asdict(written)}


def strata(receipts: dict[tuple[str, str], Json]) -> dict[Stratum, list[tuple[str, int]]]:
    """From compose's receipts by (source, shard): the samples that each of a source's shards gives a stratum.

    Shards that give none are listed too: a group is 64 input shards, whatever is kept of them.
    """
    counts: dict[Stratum, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    shards: dict[str, list[str]] = defaultdict(list)
    for (source, shard), receipt in sorted(receipts.items()):
        shards[source].append(shard)
        for task, split, _, count in receipt["counts"]:
            counts[Stratum(split, task, source)][shard] += count
    return {
        stratum: [(shard, of[shard]) for shard in shards[stratum.source]] for stratum, of in counts.items()
    }


def run(build: "Build") -> None:
    """Writes the output shards that are not there yet; first the manifest goes, whose promises are about to change."""
    settings = build.recipe.shards
    tasks = [
        _task(build, one) for one in plan(strata(build.results["compose"]), settings.group, settings.samples)
    ]
    receipts = build.receipts("shard")
    if not all(receipts.done(task) for task in tasks):
        build.layout.store.remove(build.layout.at("manifest.json"))
    receipts.forget_all_but({task.name for task in tasks})
    build.map("shard", tasks)


def _task(build: "Build", planned: Planned) -> Task:
    source = planned.stratum.source
    marks = {part.shard: build.fingerprints["compose"][(source, part.shard)] for part in planned.parts}
    parts = [
        {**asdict(part), "input": build.shards[(source, part.shard)].to_json()} for part in planned.parts
    ]
    body = {**asdict(planned.stratum), "name": planned.name, "shard": planned.name, "parts": parts}
    return Task(planned.name.replace("/", "-"), shard_fingerprint(build.recipe, planned, marks), body)
