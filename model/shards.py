"""The shards of a corpus: which there are, and their views read by number, from tar and Parquet alike.

DIR/shards/<split>/<group>/<source>/NAME.tar + NAME.parquet     the index says where each image lies
DIR/shards/<split>/<group>/<source>/NAME.parquet                carries its images
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from model.store import Store
from schemas.errors import InputError
from schemas.sample import Example, Sample, example_of
from schemas.shard import COUNTS, is_shard
from schemas.strict import FieldError, loads, require

_CACHE_BYTES: Final = 256 << 20
_PICTURE_BYTES: Final = 256 << 20
_SAMPLES: Final = 64
_SHARDS: Final = 32


Place = tuple[int, int]
"""Where a view lies in its shard: the row of its sample, and its number there."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The views of one task in a shard: the path of its Parquet, that of its tar if it has one, and how many they are.

    A view goes by its number among those of its task in the shard.
    """

    path: str
    tar: str | None
    task: str
    rows: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """All views of one split, task and source."""

    split: str
    task: str
    source: str
    shards: tuple[Shard, ...]

    @property
    def name(self) -> str:
        """Returns task and source, as mixtures name it."""
        return f"{self.task}/{self.source}"

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)


def find(store: Store, split: str, tasks: Collection[str] | None = None) -> tuple[Stratum, ...]:
    """Returns the strata of `split` below the store's root (any folder of a corpus), sorted, empty ones left out.

    Raises InputError where there is none of the split and tasks asked for, where a tar has no index or an index no
    tar, and where a shard is damaged or of another form.
    """
    files = store.files()
    there = set(files)
    found: dict[tuple[str, str], list[Shard]] = {}
    for source, stem in _stems(files, split):
        for shard in _parts(store, stem, there):
            if shard.rows and (tasks is None or shard.task in tasks):
                found.setdefault((shard.task, source), []).append(shard)
    if not found:
        wanted = "" if tasks is None else f" of the tasks {', '.join(sorted(tasks))}"
        raise InputError(f"{store.root} holds no {split} shards{wanted}: build a corpus there first")
    return tuple(Stratum(split, *name, tuple(shards)) for name, shards in sorted(found.items()))


def _stems(files: Sequence[str], split: str) -> list[tuple[str, str]]:
    """Returns (source, path without suffix) of each shard of a split, sorted by group, source and path."""
    named = set()
    for path in files:
        parts = path.split("/")
        stem, dot, suffix = path.rpartition(".")
        is_file = dot and suffix in ("parquet", "tar")
        if is_file and len(parts) > 4 and parts[-4] == split and "work" not in parts[-5:-4]:
            named.add((parts[-3], parts[-2], stem))
    return [(source, stem) for _, source, stem in sorted(named)]


def _parts(store: Store, stem: str, there: Collection[str]) -> list[Shard]:
    """Returns the views of a shard, task by task."""
    path, tar = f"{stem}.parquet", f"{stem}.tar"
    if path not in there:
        raise InputError(f"{tar} has no index: {path} is missing; copy it there, or build the corpus again")
    with _sound(path):
        file = store.parquet(path)
        schema = file.schema_arrow
        counted = (file.metadata.metadata or {}).get(COUNTS)
    if not is_shard(path, schema):
        raise InputError(f"{path} cannot be read as a shard: it has no column sample")
    if "json_offset" in schema.names and tar not in there:
        raise InputError(
            f"{path} is the index of {tar}, which is missing; copy it there, or build the corpus again"
        )
    if counted is None:
        raise InputError(
            f"{path} does not say how many views it holds: copy it again, or build the corpus again"
        )
    with _sound(path):
        counts: dict[str, int] = dict(json.loads(counted))
    own = tar if "json_offset" in schema.names else None
    return [Shard(path, own, task, rows) for task, rows in sorted(counts.items())]


@contextmanager
def _sound(path: str) -> Iterator[None]:
    """Raises InputError where a Parquet file is damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{path} is damaged ({what}): copy it again, or build the corpus again") from error


@dataclass(slots=True)
class _Opened:
    """A sample that was read: its JSON, its images' bytes, and the JSON's value once a view of it was asked for."""

    json: str
    images: tuple[bytes, ...]
    value: Any = None


@dataclass(frozen=True, slots=True)
class Row:
    """A view as it lies in its shard."""

    shard: Shard
    place: Place
    opened: _Opened

    @property
    def json(self) -> str:
        """Returns the JSON of its sample."""
        return self.opened.json

    @property
    def images(self) -> tuple[bytes, ...]:
        """Returns the bytes of its sample's images."""
        return self.opened.images

    @property
    def example(self) -> Example:
        """Returns the training example; raises InputError with shard and row where its record is wrong."""
        row, number = self.place
        try:
            if self.opened.value is None:
                self.opened.value = loads(self.opened.json)
            found = example_of(self.opened.value, number)
            require(found.task == self.shard.task, f"view {number} is of task {found.task}")
        except FieldError as error:
            raise InputError(f"{self.shard.path}, row {row}: {error}") from error
        return found


def _sample(line: str, path: str, row: int) -> Sample:
    """Returns a sample; raises InputError with shard and row where its record is wrong."""
    try:
        return Sample.from_json(line)
    except FieldError as error:
        raise InputError(f"{path}, row {row}: {error}") from error


@dataclass(slots=True)
class _Group:
    """One row group in memory; `spans[i]` are the places (offset, size) or the bytes of row i's images."""

    samples: Any
    first: int
    images: Callable[[int], tuple[bytes, ...]]
    size: int


class Reader:
    """Views of shards by number; the row groups used last stay in memory, up to 256 MiB."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups: OrderedDict[tuple[str, int], _Group] = OrderedDict()
        self._starts: dict[str, list[int]] = {}
        self._places: OrderedDict[tuple[str, str], NDArray[np.int64]] = OrderedDict()
        self._samples: OrderedDict[tuple[str, int], _Opened] = OrderedDict()
        self._held = 0

    def row(self, shard: Shard, number: int) -> Row:
        """Returns the view `number` of the shard's task."""
        (place,) = self.places(shard, number, number + 1)
        return self.view(shard, place)

    def view(self, shard: Shard, place: Place) -> Row:
        """Returns the view at a place; the samples read last are kept, for views of one image are drawn together."""
        row, _ = place
        found = self._samples.get((shard.path, row))
        if found is None:
            group = self._group(shard, row)
            at = row - group.first
            found = self._samples[shard.path, row] = _Opened(group.samples[at].as_py(), group.images(at))
            if len(self._samples) > _SAMPLES:
                self._samples.popitem(last=False)
        return Row(shard, place, found)

    def places(self, shard: Shard, start: int, stop: int) -> list[Place]:
        """Returns where the views `start` to `stop` of the shard's task lie."""
        name = (shard.path, shard.task)
        found = self._places.get(name)
        if found is None:
            with _sound(shard.path):
                table = self._store.parquet(shard.path).read(["views.list.element.task"], use_threads=False)
                found = self._places[name] = _places_of(table.combine_chunks(), shard.task)
            if len(found) != shard.rows:
                raise InputError(
                    f"{shard.path} counts {shard.rows} views of task {shard.task}, but lists {len(found)}: "
                    "copy it again, or build the corpus again"
                )
            if len(self._places) > _SHARDS:
                self._places.popitem(last=False)
        return [(row, view) for row, view in found[start:stop].tolist()]

    def _group(self, shard: Shard, row: int) -> _Group:
        starts = self._starts.get(shard.path)
        if starts is None:
            with _sound(shard.path):
                metadata = self._store.parquet(shard.path).metadata
            sizes = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
            starts = self._starts[shard.path] = [0, *np.cumsum(sizes).tolist()]
        number = int(np.searchsorted(starts, row, side="right")) - 1
        key = (shard.path, number)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = self._read(shard, number, starts[number])
            self._held += group.size
            while self._held > _CACHE_BYTES and len(self._groups) > 1:
                self._held -= self._groups.popitem(last=False)[1].size
        else:
            self._groups.move_to_end(key)
        return group

    def _read(self, shard: Shard, number: int, first: int) -> _Group:
        with _sound(shard.path):
            file = self._store.parquet(shard.path)
            columns = [name for name in ("image", "images") if name in file.schema_arrow.names]
            table = file.read_row_group(number, ["sample", *columns], use_threads=False).combine_chunks()
        samples = table["sample"].chunk(0) if table.num_rows else table["sample"]
        pictures = table[columns[0]].chunk(0)
        if shard.tar is not None:
            return _Group(samples, first, self._from_tar(shard.tar, pictures), table.nbytes)
        return _Group(samples, first, _from_column(pictures), table.nbytes)

    def _from_tar(self, tar: str, images: Any) -> Callable[[int], tuple[bytes, ...]]:
        edges = images.offsets.to_numpy()
        values = images.values
        offsets, sizes = values.field("offset").to_numpy(), values.field("size").to_numpy()

        def read(at: int) -> tuple[bytes, ...]:
            places = range(edges[at], edges[at + 1])
            for place in places:
                if not 0 <= sizes[place] <= _PICTURE_BYTES or offsets[place] < 0:
                    raise InputError(f"{tar}: its index gives an image of {sizes[place]} bytes")
            return tuple(self._store.read(tar, int(offsets[p]), int(sizes[p])) for p in places)

        return read


def _from_column(images: Any) -> Callable[[int], tuple[bytes, ...]]:
    def read(at: int) -> tuple[bytes, ...]:
        value = images[at].as_py()
        if value is None:
            return ()
        return tuple(one["bytes"] for one in (value if isinstance(value, list) else [value]))

    return read


def _places_of(table: pa.Table, task: str) -> NDArray[np.int64]:
    """Returns (views of the task, 2): the row of each and its number there."""
    views = table["views"].chunk(0) if table.num_rows else pa.array([], table.schema.field("views").type)
    offsets = views.offsets.to_numpy().astype(np.int64)
    tasks = views.values.field("task")
    mine = np.flatnonzero(pc.equal(tasks, task).to_numpy(zero_copy_only=False)) if len(tasks) else offsets[:0]
    rows = np.searchsorted(offsets, mine, side="right") - 1
    return np.stack([rows, mine - offsets[rows]], axis=1)


def examples(store: Store, strata: Sequence[Stratum], limit: int | None = None) -> Iterator[Example]:
    """Yields every view of `strata` in the order of the shards, at most `limit` a stratum; reads no image."""
    for stratum in strata:
        found = (
            one
            for shard in stratum.shards
            for number, line in enumerate(_lines(store, shard))
            for one in _sample(line, shard.path, number).examples
            if one.task == stratum.task
        )
        yield from islice(found, limit)


def _lines(store: Store, shard: Shard) -> Iterator[str]:
    with _sound(shard.path):
        for batch in store.parquet(shard.path).iter_batches(1024, columns=["sample"], use_threads=False):
            yield from batch["sample"].to_pylist()
