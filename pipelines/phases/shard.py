"""Phase shard: samples with their images' bytes, cut into shards by their keys and written one shard a task."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import pyarrow.compute as pc

from filters.picture import Pictures, PictureSettings
from filters.pixels import DECODERS
from filters.resize import Resize, resized
from pipelines.datasets.drafts import scaled
from pipelines.engines.step import At, Json
from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.parquet import RowGroups
from pipelines.phases import changes
from pipelines.phases.cutting import (
    Again,
    Outline,
    Planned,
    Stratum,
    bound,
    from_json,
    outline,
    plan,
    repeats,
    run_at,
    runs,
)
from pipelines.phases.gather import agreed
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, fetch, options_of
from pipelines.sources.annotations import Images
from pipelines.sources.table import KINDS
from pipelines.writers import parquet, webdataset
from pipelines.writers.columns import SIGNALS, Item
from pipelines.writers.sink import Written
from schemas.errors import OutputError, RowError
from schemas.sample import SEVERAL, Image, Sample, joined
from schemas.shard import FORM

if TYPE_CHECKING:
    from pipelines.build import Build


def written_with(recipe: Recipe) -> str:
    """Returns the fingerprint of what the bytes of all output shards depend on; made once a run."""
    settings = recipe.model_dump(mode="json", include={"resize": True, "signals": {"picture"}})
    return fingerprint(settings, FORM, versions(["pillow", "pyarrow"]))


def shard_fingerprint(written_with: str, form: str, planned: Planned) -> str:
    """Returns what the bytes of one output shard depend on: its own samples, and the shape of the output."""
    return fingerprint("shard", 4, written_with, form, planned.name, planned.digest)


def form_of(recipe: Recipe, group: str) -> str:
    """Returns the form of a group's shards: `webdataset` or `parquet`."""
    if recipe.shards.format != "auto":
        return recipe.shards.format
    return "parquet" if group in SEVERAL else "webdataset"


class Place(NamedTuple):
    """An image in the scratch file: offset and size."""

    offset: int
    size: int


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
            counts = Counts()
            items = counts.counting(samples.items(self._recipe.resize))
            files = self._write(task["name"], task["group"], items)
        return {"files": files, "bytes": sum(file["size"] for file in files), **counts.receipt()}

    def _gather(self, task: Json, part: Json, samples: "Gathered") -> None:
        """Reads a part's samples and copies their images into the scratch file."""
        file = RowGroups(self._layout.store, self._layout.path("samples", task["source"], part["shard"]))
        first = _first(file, task["group"], task["split"])
        rows = file.rows(first + part["start"], first + part["stop"]).to_pylist()
        if part["joins"]:
            samples.join(rows)
            return
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
                places[member] = samples.keep(stored)
        for row in rows:
            sample, members = Sample.from_json(row["sample"]), [place["member"] for place in row["places"]]
            for member, image in zip(members, sample.images, strict=True):
                if digests.get(member) != image.sha256:
                    raise shard.changed(member)
            samples.add(row, tuple(places[member] for member in members))

    def _gather_named(self, source: Source, rows: list[dict[str, Any]], samples: "Gathered") -> None:
        """Gathers samples whose images lie in a folder, by name; each image is read once."""
        images = Images(source, Store(source.storage_options or None, source.id))
        places: dict[str, Place] = {}
        for row in rows:
            names = [place["name"] for place in row["places"]]
            for name in names:
                if name not in places:
                    data = images.read(name)
                    places[name] = samples.keep(self._pictures.stored(data))
            samples.add(row, tuple(places[name] for name in names))

    def _write(self, name: str, group: str, items: Iterator[Item]) -> list[Json]:
        layout, store = self._layout, self._layout.store
        index_path = layout.at(f"{name}.parquet")
        with store.write_atomic(index_path, layout.tmp) as index, open(index, "wb") as index_file:
            if form_of(self._recipe, group) == "parquet":
                schema = parquet.SEVERAL if group in SEVERAL else parquet.ONE
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
        # by key: the rows of work/samples that make the sample, and the places of its images
        self._rows: dict[str, tuple[list[dict[str, Any]], tuple[Place, ...]]] = {}

    def keep(self, data: bytes) -> Place:
        """Appends an image as it is stored; returns its place."""
        self._scratch.seek(self._end)
        self._scratch.write(data)
        place = Place(self._end, len(data))
        self._end += len(data)
        return place

    def add(self, row: dict[str, Any], places: tuple[Place, ...]) -> None:
        """Adds a sample."""
        if row["key"] in self._rows:
            raise ValueError(f"two samples of one shard have the key {row['key']!r}")
        self._rows[row["key"]] = ([row], places)

    def join(self, rows: Iterable[dict[str, Any]]) -> None:
        """Adds the views of `rows` to the samples of their keys, which show the same image."""
        for row in rows:
            self._rows[row["key"]][0].append(row)

    def items(self, resize: Resize | None) -> Iterator[Item]:
        """Yields the samples, their images read back (and resized) one by one."""
        for rows, places in self._rows.values():
            sample = joined([Sample.from_json(row["sample"]) for row in rows])
            several = {view.task for view in sample.views} - {*SEVERAL}
            if len(places) > 1 and several:
                # its shards have one column for the image: readers would lose the others
                raise OutputError(
                    f"source {sample.source}: the sample {sample.key} has {len(places)} images, but those of task "
                    f"{min(several)} have one at most: give such samples the task {' or '.join(SEVERAL)}"
                )
            signals = agreed([{name: row[name] for name in SIGNALS.names} for row in rows])
            sample, images = _fitted(sample, [self._read(place) for place in places], resize)
            yield Item(sample, images, signals)

    def _read(self, place: Place) -> bytes:
        self._scratch.seek(place.offset)
        return self._scratch.read(place.size)


MOST_LICENCES: Final = 50
"""The licences of a shard that are counted by name; the others together."""

OTHER_LICENCES: Final = "other"
"""Under this name stand the views of all further licences."""


@dataclass
class Counts:
    """What a shard holds: samples, images, and views by task and language, and by licence."""

    samples: int = 0
    images: int = 0
    views: Counter[tuple[str, str]] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)

    def counting(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields the items, and counts what passes."""
        for item in items:
            self.samples += 1
            self.images += len(item.images)
            self.views.update((one.task, one.language) for one in item.sample.views)
            self.licences.update(one.licence for one in item.sample.views)
            yield item

    def receipt(self) -> Json:
        """Returns the counts as JSON values."""
        views = [[task, language, count] for (task, language), count in sorted(self.views.items())]
        licences = most_common(self.licences, MOST_LICENCES)
        return {"samples": self.samples, "images": self.images, "views": views, "licences": licences}


def most_common(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Returns the `most` commonest by name, and the sum of all others as `other`; ties go by name."""
    order = sorted(counts.items(), key=lambda one: (one[0] == OTHER_LICENCES, -one[1], one[0]))
    found = dict(sorted(order[:most]))
    if rest := sum(count for _, count in order[most:]):
        found[OTHER_LICENCES] = found.get(OTHER_LICENCES, 0) + rest
    return found


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
        small = resized(DECODERS[image.format](io.BytesIO(whole)), image.format, resize)
        images.append(
            replace(image, format=small.format, width=small.width, height=small.height, sha256=small.sha256)
        )
        fitted.append(small.data)
        factors.append((small.width / image.width, small.height / image.height))
    views = tuple(replace(view, turns=scaled(view.turns, factors)) for view in sample.views)
    return replace(sample, images=tuple(images), views=views), fitted


def _first(file: RowGroups, group: str, split: str) -> int:
    """Returns the number of the first sample of a group and split, which lie together in a file of samples."""
    for number, table in file.each(["group", "split"]):
        mine = pc.and_(pc.equal(table["group"], group), pc.equal(table["split"], split))
        if (at := pc.index(mine, True).as_py()) >= 0:
            return int(number + at)
    raise ValueError(f"no sample of {group}, {split}")


def _file(name: str, written: Written) -> Json:
    return {"name": name, **asdict(written)}


def run(build: "Build") -> None:
    """Writes the output shards that are not there yet."""
    planned = {_task_name(one): one for one in _plan(build)}
    tasks = list(_tasks(build, planned))
    receipts = build.receipts("shard")
    build.check("shard", tasks)
    stay = {planned[task.name].name for task in tasks if receipts.done(task)}
    fresh, gone = len(tasks) - len(stay), len(receipts.others(planned))
    if build.removed:
        build.reporter.say(f"of {len(tasks):,} shards {fresh:,} are written anew; {gone:,} have gone")
    was = changes.before(build.layout, stay) if fresh or gone else None
    receipts.forget_all_but(planned)
    done = build.map("shard", tasks, body=lambda task: _body(build, planned[task.name]))
    if was is None or not was.files:
        return
    written = {
        one.name: {file["name"]: file["sha256"] for file in receipt["files"]}
        for one, receipt in zip(planned.values(), done, strict=True)
        if one.name not in stay
    }
    if sentence := changes.said(build.layout, was, written):
        build.reporter.say(sentence)


def _plan(build: "Build") -> list[Planned]:
    """Returns the output shards.

    Where a source has one sample an image, the samples of one image in several input shards are joined.
    """
    composed, layout = build.results["compose"], build.layout
    drafts = [name for name in composed if KINDS[build.recipe.source(name[0]).kind].drafts]
    again: dict[tuple[Stratum, str], Sequence[Again]] = {}
    for _, names in groupby(sorted(drafts), key=lambda name: name[0]):
        if len(own := list(names)) > 1:
            again |= repeats(partial(runs, layout, own))
    samples = build.recipe.shards.samples
    joined_in = {stratum.source for stratum, _ in again}

    def outlines() -> Iterator[Outline]:
        for source, names in groupby(sorted(composed), key=lambda name: name[0]):
            if source in joined_in:
                yield from (outline(run, bound(samples), again) for run in runs(layout, names))
            else:
                for name in names:
                    yield from from_json(name, composed[name]["runs"])

    return plan(outlines(), samples, partial(run_at, layout), again)


def _tasks(build: "Build", planned: Mapping[str, Planned]) -> Iterator[Task]:
    recipe, made_with = build.recipe, written_with(build.recipe)
    for name, one in planned.items():
        yield Task(name, shard_fingerprint(made_with, form_of(recipe, one.stratum.group), one))


def _task_name(planned: Planned) -> str:
    return planned.name.replace("/", "-")


def _body(build: "Build", planned: Planned) -> Json:
    """Returns the body of the task that writes an output shard."""
    stratum = planned.stratum
    parts = [
        {**part._asdict(), "input": build.shards[(stratum.source, part.shard)].to_json()}
        for part in planned.parts
    ]
    return {**stratum._asdict(), "name": planned.name, "shard": planned.name, "parts": parts}
