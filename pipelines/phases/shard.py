"""Phase shard: samples with their images' bytes, cut into shards by their keys and written one shard a task."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import pyarrow.compute as pc

from filters.picture import Pictures, PictureSettings
from filters.resize import Resize, resized
from pipelines.datasets.drafts import scaled
from pipelines.engines.step import At, Json
from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.parquet import read_table
from pipelines.phases import changes
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, fetch, options_of
from pipelines.sources.annotations import find_image
from pipelines.sources.table import KINDS
from pipelines.writers import parquet, webdataset
from pipelines.writers.columns import SIGNALS, Item, key_hash
from pipelines.writers.sink import Written
from schemas.errors import OutputError, RowError
from schemas.sample import SEVERAL, Image, Sample
from schemas.shard import FORM

if TYPE_CHECKING:
    from pipelines.build import Build

_AT_ONCE: Final = 8


@dataclass(frozen=True, order=True)
class Stratum:
    """What is shared by the samples of one folder of shards."""

    split: str
    task: str
    source: str

    @property
    def folder(self) -> str:
        return f"shards/{self.split}/{self.task}/{self.source}"


class Run(NamedTuple):
    """The samples of one stratum in one input shard, in key order, by their keys and digests."""

    stratum: Stratum
    shard: str
    keys: list[str]
    digests: list[str]


@dataclass(frozen=True)
class Part:
    """The samples `start` to `stop` of a run."""

    shard: str
    start: int
    stop: int


@dataclass(frozen=True)
class Planned:
    """One output shard: the hash of its first sample's key, its parts, and the digest of its samples."""

    stratum: Stratum
    first: int
    parts: tuple[Part, ...]
    digest: str

    @property
    def name(self) -> str:
        return f"{self.stratum.folder}/{self.first:016x}"


def plan(runs: Iterable[Run], size: int) -> list[Planned]:
    """Returns the output shards in the order of their strata, and of the runs (by input shard) in each.

    A shard ends after a sample whose key's hash is low, so what is cut does not depend on how many samples stand
    before: a sample more or less changes its own shard, and seldom the next. `size` is the average; no shard but
    a stratum's last has fewer than a quarter of it, none more than four times.
    """
    least, most = -(-size // 4), 4 * size
    bound = 2**64 // (size - least + 1)
    planned: dict[Stratum, list[Planned]] = defaultdict(list)
    growing: dict[Stratum, _Growing] = defaultdict(_Growing)
    for stratum, shard, keys, digests in runs:
        start = 0
        for at, (key, digest) in enumerate(zip(keys, digests, strict=True), 1):
            one, number = growing[stratum], key_hash(key)
            one.add(number, digest)
            if one.count == most or (one.count >= least and number < bound):
                planned[stratum].append(one.ended(stratum, Part(shard, start, at)))
                start = at
                del growing[stratum]
        if start < len(keys):
            growing[stratum].parts.append(Part(shard, start, len(keys)))
    for stratum, one in growing.items():
        planned[stratum].append(one.ended(stratum))
    return [one for stratum in sorted(planned) for one in planned[stratum]]


@dataclass
class _Growing:
    """A shard that is being planned."""

    first: int = 0
    count: int = 0
    parts: list[Part] = field(default_factory=list)
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def add(self, number: int, digest: str) -> None:
        """Takes one more sample: the hash of its key, and its digest."""
        if self.count == 0:
            self.first = number
        self.count += 1
        self.digest.update(digest.encode())

    def ended(self, stratum: Stratum, *last: Part) -> Planned:
        """Returns the shard, with the last of its parts."""
        return Planned(stratum, self.first, (*self.parts, *last), self.digest.hexdigest())


def runs(layout: Layout, composed: Iterable[tuple[str, str]]) -> Iterator[Run]:
    """Yields the runs of samples that phase compose left of (source, shard), in the order of sources and shards."""

    def read(name: tuple[str, str]) -> list[Run]:
        columns = ["task", "split", "key", "digest"]
        table = read_table(layout, layout.path("samples", *name), columns)
        found: dict[tuple[str, str], Run] = {}
        for task, split, key, digest in zip(*(table[one].to_pylist() for one in columns), strict=True):
            run = found.setdefault((task, split), Run(Stratum(split, task, name[0]), name[1], [], []))
            run.keys.append(key)
            run.digests.append(digest)
        return list(found.values())

    names = sorted(composed)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for first in range(0, len(names), 8 * _AT_ONCE):
            for found in pool.map(read, names[first : first + 8 * _AT_ONCE]):
                yield from found


def shard_fingerprint(recipe: Recipe, planned: Planned) -> str:
    """Returns what the bytes of one output shard depend on: its own samples, and the shape of the output."""
    form = [FORM, form_of(recipe, planned.stratum.task), planned.name, planned.digest]
    settings = recipe.model_dump(mode="json", include={"resize": True, "signals": {"picture"}})
    return fingerprint("shard", 2, settings, form, versions(["pillow", "pyarrow"]))


def form_of(recipe: Recipe, task: str) -> str:
    """Returns the form of a task's shards: `webdataset` or `parquet`."""
    if recipe.shards.format != "auto":
        return recipe.shards.format
    return "parquet" if task in SEVERAL else "webdataset"


class Place(NamedTuple):
    """An image in the scratch file: offset and size, and its SHA-256 as its source has it."""

    offset: int
    size: int
    original: str


class WriteShard:
    """Writes one output shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._pictures = Pictures(self._recipe.signals[PictureSettings])

    def run(self, task: Json, at: At) -> Json:
        """Returns the receipt, which lists the files written: name, size, SHA-256, rows."""
        path = self._layout.at(task["name"])
        with self._layout.store.scratch(path) as scratch:
            samples = Gathered(scratch)
            for part in task["parts"]:
                self._gather(task, part, samples)
            files = self._write(task["name"], task["task"], samples.items(self._recipe.resize))
        return {"files": files, "samples": len(samples), "bytes": sum(file["size"] for file in files)}

    def _gather(self, task: Json, part: Json, samples: "Gathered") -> None:
        """Reads a part's samples and copies their images into the scratch file."""
        table = read_table(self._layout, self._layout.path("samples", task["source"], part["shard"]))
        mine = pc.and_(pc.equal(table["task"], task["task"]), pc.equal(table["split"], task["split"]))
        rows = table.filter(mine).slice(part["start"], part["stop"] - part["start"]).to_pylist()
        source = self._recipe.source(task["source"])
        if KINDS[source.kind].annotated:
            self._gather_named(source, rows, samples)
            return
        shard = InputShard.from_json(part["input"])
        places: dict[str, Place] = {}
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
                places[member] = samples.keep(stored, data)
        for row in rows:
            members = [place["member"] for place in row["places"]]
            for member, image in zip(members, Sample.from_json(row["sample"]).images, strict=True):
                if digests.get(member) != image.sha256:
                    raise shard.changed(member)
            samples.rows.append((row, tuple(places[member] for member in members)))

    def _gather_named(self, source: Source, rows: list[dict[str, Any]], samples: "Gathered") -> None:
        """Gathers samples whose images lie in a folder, by name; each image is read once."""
        store = Store(source.storage_options or None, source.id)
        places: dict[str, Place] = {}
        for row in rows:
            names = [place["name"] for place in row["places"]]
            for name in names:
                if name not in places:
                    data = store.read_bytes(find_image(source, store, name))
                    places[name] = samples.keep(self._pictures.stored(data), data)
            samples.rows.append((row, tuple(places[name] for name in names)))

    def _write(self, name: str, task: str, items: Iterator[Item]) -> list[Json]:
        layout, store = self._layout, self._layout.store
        index_path = layout.at(f"{name}.parquet")
        with store.write_atomic(index_path, layout.tmp) as index, open(index, "wb") as index_file:
            if form_of(self._recipe, task) == "parquet":
                schema = parquet.SEVERAL if task in SEVERAL else parquet.ONE
                one = parquet.write(items, index_file, schema)
                index_file.flush()
                return [_file(f"{name}.parquet", one)]
            tar_path = layout.at(f"{name}.tar")
            with store.write_atomic(tar_path, layout.tmp) as tar, open(tar, "wb") as tar_file:
                written = webdataset.write(items, tar_file, index_file)
        return [_file(f"{name}.parquet", written.index), _file(f"{name}.tar", written.tar)]


class Gathered:
    """The samples of one output shard in their order; their images lie in a scratch file, not in memory."""

    def __init__(self, scratch: BinaryIO) -> None:
        self._scratch = scratch
        self._end = 0
        self.rows: list[tuple[dict[str, Any], tuple[Place, ...]]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, data: bytes, original: bytes) -> Place:
        """Appends an image as it is stored, which was `original` in its source; returns its place."""
        self._scratch.seek(self._end)
        self._scratch.write(data)
        place = Place(self._end, len(data), hashlib.sha256(original).hexdigest())
        self._end += len(data)
        return place

    def items(self, resize: Resize | None) -> Iterator[Item]:
        """Yields the samples, their images read back (and resized) one by one."""
        for row, places in self.rows:
            sample = Sample.from_json(row["sample"])
            if len(places) > 1 and sample.task not in SEVERAL:
                # its shards have one column for the image: readers would lose the others
                raise OutputError(
                    f"source {sample.source}: the sample {sample.key} has {len(places)} images, but those of task "
                    f"{sample.task} have one at most: give such samples the task {' or '.join(SEVERAL)}"
                )
            signals = {name: row[name] for name in SIGNALS.names}
            sample, images = _fitted(sample, [self._read(place) for place in places], resize)
            yield Item(sample, images, signals, [place.original for place in places])

    def _read(self, place: Place) -> bytes:
        self._scratch.seek(place.offset)
        return self._scratch.read(place.size)


def _fitted(sample: Sample, data: list[bytes], resize: Resize | None) -> tuple[Sample, list[bytes]]:
    """Returns the sample with its images within the recipe's size, and its regions moved with them."""
    if resize is None or all(max(one.width, one.height) <= resize.max_side for one in sample.images):
        return sample, data
    images: list[Image] = []
    fitted: list[bytes] = []
    factors: list[tuple[float, float]] = []
    for image, whole in zip(sample.images, data, strict=True):
        if max(image.width, image.height) <= resize.max_side:
            images.append(image)
            fitted.append(whole)
            factors.append((1.0, 1.0))
            continue
        small = resized(whole, image.format, resize)
        images.append(Image(small.format, small.width, small.height, small.sha256))
        fitted.append(small.data)
        factors.append((small.width / image.width, small.height / image.height))
    return replace(sample, images=tuple(images), turns=scaled(sample.turns, factors)), fitted


def _file(name: str, written: Written) -> Json:
    return {"name": name, **asdict(written)}


def run(build: "Build") -> None:
    """Writes the output shards that are not there yet."""
    planned = plan(runs(build.layout, build.results["compose"]), build.recipe.shards.samples)
    tasks = [_task(build, one) for one in planned]
    receipts = build.receipts("shard")
    names = {task.name for task in tasks}
    build.check("shard", tasks)
    fresh = sum(not receipts.done(task) for task in tasks)
    gone = len(receipts.others(names))
    if build.removed:
        build.reporter.say(f"of {len(tasks):,} shards {fresh:,} are written anew; {gone:,} have gone")
    stay = {one.name for one, task in zip(planned, tasks, strict=True) if receipts.done(task)}
    was = changes.before(build.layout, stay)
    receipts.forget_all_but(names)
    build.map("shard", tasks)
    if sentence := changes.said(build.layout, was, stay, {one.name for one in planned} - stay):
        build.reporter.say(sentence)


def _task(build: "Build", planned: Planned) -> Task:
    source = planned.stratum.source
    parts = [
        {**asdict(part), "input": build.shards[(source, part.shard)].to_json()} for part in planned.parts
    ]
    body = {**asdict(planned.stratum), "name": planned.name, "shard": planned.name, "parts": parts}
    return Task(planned.name.replace("/", "-"), shard_fingerprint(build.recipe, planned), body)
