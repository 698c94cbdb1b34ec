"""The shards of a corpus: which there are, and their rows read by index, from tar and Parquet alike.

DIR/shards/<split>/<task>/<source>/NAME.tar + NAME.parquet     the index says where each image lies
DIR/shards/<split>/<task>/<source>/NAME.parquet                carries its images
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
import pyarrow as pa

from model.store import Store
from schemas.errors import InputError
from schemas.sample import Sample
from schemas.shard import is_shard
from schemas.strict import FieldError

_CACHE_BYTES: Final = 256 << 20
_PICTURE_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: the path of its Parquet, that of its tar if it has one, and its rows."""

    path: str
    tar: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """All shards of one split, task and source."""

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
    found = []
    for (task, source), named in groupby(_stems(files, split), key=lambda one: one[:2]):
        if tasks is not None and task not in tasks:
            continue
        shards = tuple(_shard(store, stem, there) for _, _, stem in named)
        stratum = Stratum(split, task, source, tuple(shard for shard in shards if shard.rows))
        if stratum.rows:
            found.append(stratum)
    if not found:
        wanted = "" if tasks is None else f" of the tasks {', '.join(sorted(tasks))}"
        raise InputError(f"{store.root} holds no {split} shards{wanted}: build a corpus there first")
    return tuple(found)


def _stems(files: Sequence[str], split: str) -> list[tuple[str, str, str]]:
    """Returns (task, source, path without suffix) of each shard of a split, sorted."""
    named = set()
    for path in files:
        parts = path.split("/")
        stem, dot, suffix = path.rpartition(".")
        is_file = dot and suffix in ("parquet", "tar")
        if is_file and len(parts) > 4 and parts[-4] == split and "work" not in parts[-5:-4]:
            named.add((parts[-3], parts[-2], stem))
    return sorted(named)


def _shard(store: Store, stem: str, there: Collection[str]) -> Shard:
    path, tar = f"{stem}.parquet", f"{stem}.tar"
    if path not in there:
        raise InputError(f"{tar} has no index: {path} is missing; copy it there, or build the corpus again")
    with _sound(path):
        file = store.parquet(path)
        schema, rows = file.schema_arrow, file.metadata.num_rows
    if not is_shard(path, schema):
        raise InputError(f"{path} cannot be read as a shard: it has no column sample")
    if "json_offset" not in schema.names:
        return Shard(path, None, rows)
    if tar not in there:
        raise InputError(
            f"{path} is the index of {tar}, which is missing; copy it there, or build the corpus again"
        )
    return Shard(path, tar, rows)


@contextmanager
def _sound(path: str) -> Iterator[None]:
    """Raises InputError where a Parquet file is damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{path} is damaged ({what}): copy it again, or build the corpus again") from error


@dataclass(frozen=True, slots=True)
class Row:
    """One sample as it lies in its shard: its JSON, and the bytes of its images."""

    json: str
    images: tuple[bytes, ...]

    def sample(self, shard: Shard, row: int) -> Sample:
        """Returns the sample; raises InputError with shard and row where its record is wrong."""
        try:
            return Sample.from_json(self.json)
        except FieldError as error:
            raise InputError(f"{shard.path}, row {row}: {error}") from error


@dataclass(slots=True)
class _Group:
    """One row group in memory; `spans[i]` are the places (offset, size) or the bytes of row i's images."""

    samples: Any
    first: int
    images: Callable[[int], tuple[bytes, ...]]
    size: int


class Reader:
    """Rows of shards by number; the row groups used last stay in memory, up to 256 MiB."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups: OrderedDict[tuple[str, int], _Group] = OrderedDict()
        self._starts: dict[str, list[int]] = {}
        self._keys: OrderedDict[str, list[str]] = OrderedDict()
        self._held = 0

    def row(self, shard: Shard, row: int) -> Row:
        group = self._group(shard, row)
        at = row - group.first
        return Row(group.samples[at].as_py(), group.images(at))

    def keys(self, shard: Shard, start: int, stop: int) -> list[str]:
        """The keys of rows `start` to `stop`."""
        found = self._keys.get(shard.path)
        if found is None:
            with _sound(shard.path):
                table = self._store.parquet(shard.path).read(["key"], use_threads=False)
            found = self._keys[shard.path] = table["key"].to_pylist()
            if len(self._keys) > 32:
                self._keys.popitem(last=False)
        return found[start:stop]

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


def samples(store: Store, strata: Sequence[Stratum], limit: int | None = None) -> Iterator[Sample]:
    """Yields every sample of `strata` in the order of the shards, at most `limit` a stratum; reads no image."""
    for stratum in strata:
        left = stratum.rows if limit is None else limit
        for shard in stratum.shards:
            for number, line in enumerate(_lines(store, shard) if left else ()):
                if number == left:
                    break
                yield Row(line, ()).sample(shard, number)
            left -= min(shard.rows, left)


def _lines(store: Store, shard: Shard) -> Iterator[str]:
    with _sound(shard.path):
        for batch in store.parquet(shard.path).iter_batches(1024, columns=["sample"], use_threads=False):
            yield from batch["sample"].to_pylist()
