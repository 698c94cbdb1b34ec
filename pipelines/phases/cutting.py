"""Where the samples that phase compose left are cut into output shards, by the hashes of their keys.

Compose leaves an outline of each input shard in its receipt: some numbers for each place where an output shard may end.
So an output shard is planned from receipts, and no file of samples is opened for its keys, with two exceptions: where
a shard comes to its greatest size, which is at no such place, and where images of several input shards are equal.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from pipelines.layout import Layout, Name
from pipelines.parquet import read_table
from pipelines.writers.columns import key_hash

_AT_ONCE: Final = 8


class Stratum(NamedTuple):
    """What is shared by the samples of one folder of shards."""

    split: str
    group: str
    source: str

    @property
    def folder(self) -> str:
        return f"shards/{self.split}/{self.group}/{self.source}"


class Run(NamedTuple):
    """The samples of one stratum in one input shard, in key order, by their keys and digests."""

    stratum: Stratum
    shard: str
    keys: list[str]
    digests: list[str]


class Part(NamedTuple):
    """The samples `start` to `stop` of a run; `joins`: views for samples of the same keys in the parts before."""

    shard: str
    start: int
    stop: int
    joins: bool = False


class Again(NamedTuple):
    """A sample whose key an earlier input shard has too: equal images under two names. It joins the first of them."""

    part: Part
    digest: str


Repeats = Mapping[tuple[Stratum, str], Sequence[Again]]
"""By stratum and key the samples that join the first of that key."""

_NONE: Final[Repeats] = MappingProxyType({})


class Stretch(NamedTuple):
    """Samples of a run that follow each other, of which only behind the last (`ends`) an output shard may end.

    `first` is the hash of the first one's key; `digest` covers all of them, and what joins them.
    """

    start: int
    stop: int
    first: int
    digest: str
    ends: bool
    joining: tuple[Part, ...] = ()


class Outline(NamedTuple):
    """A run by its stretches."""

    stratum: Stratum
    shard: str
    stretches: Sequence[Stretch]


@dataclass(frozen=True, slots=True)
class Planned:
    """One output shard: the hash of its first sample's key, its parts, and the digest of its samples."""

    stratum: Stratum
    first: int
    parts: tuple[Part, ...]
    digest: str

    @property
    def name(self) -> str:
        return f"{self.stratum.folder}/{self.first:016x}"


def sizes(samples: int) -> tuple[int, int]:
    """Returns the least and the greatest number of samples of an output shard that has `samples` on average."""
    return -(-samples // 4), 4 * samples


def bound(samples: int) -> int:
    """Returns the hash below which a key ends an output shard."""
    return 2**64 // (samples - sizes(samples)[0] + 1)


def outline(run: Run, below: int, repeats: Repeats = _NONE) -> Outline:
    """Returns the stretches of a run: they end behind keys whose hash is less. Samples that join others are in none."""
    found, start = [], 0
    for at, key in enumerate(run.keys):
        joins = any(one.part.shard == run.shard for one in repeats.get((run.stratum, key), ()))
        if joins or key_hash(key) < below:
            stop = at if joins else at + 1
            if start < stop:
                found.append(_stretch(run, start, stop, not joins, repeats))
            start = at + 1
    if start < len(run.keys):
        found.append(_stretch(run, start, len(run.keys), False, repeats))
    return Outline(run.stratum, run.shard, found)


def _stretch(run: Run, start: int, stop: int, ends: bool, repeats: Repeats) -> Stretch:
    digest = hashlib.blake2b(digest_size=16)
    joining: list[Part] = []
    for key, own in zip(run.keys[start:stop], run.digests[start:stop], strict=True):
        digest.update(own.encode())
        for one in repeats.get((run.stratum, key), ()):
            digest.update(one.digest.encode())
            joining.append(one.part)
    return Stretch(start, stop, key_hash(run.keys[start]), digest.hexdigest(), ends, tuple(joining))


def to_json(outlines: Iterable[Outline]) -> list[Any]:
    """Returns the outlines of one input shard as a receipt holds them."""
    return [
        [
            one.stratum.split,
            one.stratum.group,
            [[part.stop - part.start, part.first, part.digest, int(part.ends)] for part in one.stretches],
        ]
        for one in outlines
    ]


def from_json(name: Name, value: Iterable[Any]) -> Iterator[Outline]:
    """Yields the outlines of the input shard (source, shard) that `to_json` wrote."""
    source, shard = name
    for split, group, parts in value:
        stretches, at = list[Stretch](), 0
        for count, first, digest, ends in parts:
            stretches.append(Stretch(at, at + count, first, digest, bool(ends)))
            at += count
        yield Outline(Stratum(split, group, source), shard, stretches)


def plan(
    outlines: Iterable[Outline],
    samples: int,
    read: Callable[[Stratum, str], Run],
    repeats: Repeats = _NONE,
) -> list[Planned]:
    """Returns the output shards in the order of their strata, and of the outlines (by input shard) in each.

    A shard ends after a sample whose key's hash is low, so what is cut does not depend on how many samples stand
    before: a sample more or less changes its own shard, and seldom the next. `samples` is the average; no shard but
    a stratum's last has fewer than a quarter of it, none more than four times. `read` gives a run's keys, where
    a shard of the greatest size ends within a stretch.
    """
    least, most = sizes(samples)
    planned: dict[Stratum, list[Planned]] = defaultdict(list)
    growing: dict[Stratum, _Growing] = defaultdict(_Growing)
    strata: dict[Stratum, Stratum] = {}
    for given, shard, stretches in outlines:
        stratum = strata.setdefault(given, given)  # one for all that are planned
        for stretch in stretches:
            left: Stretch | None = stretch
            while left is not None:
                one = growing[stratum]
                taken, left = _fitting(left, most - one.count, partial(read, stratum, shard), repeats)
                one.add(shard, taken)
                if one.count == most or (one.count >= least and taken.ends):
                    planned[stratum].append(one.ended(stratum))
                    del growing[stratum]
    for stratum, one in growing.items():
        planned[stratum].append(one.ended(stratum))
    return [one for stratum in sorted(planned) for one in planned[stratum]]


def _fitting(
    stretch: Stretch, room: int, read: Callable[[], Run], repeats: Repeats
) -> tuple[Stretch, Stretch | None]:
    """Returns the first samples of a stretch, at most `room`, and the others."""
    start, stop = stretch.start, stretch.stop
    if stop - start <= room:
        return stretch, None
    run, at = read(), start + room
    return _stretch(run, start, at, False, repeats), _stretch(run, at, stop, stretch.ends, repeats)


@dataclass
class _Growing:
    """A shard that is being planned."""

    first: int = 0
    count: int = 0
    parts: list[Part] = field(default_factory=list)
    joining: list[Part] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    def add(self, shard: str, stretch: Stretch) -> None:
        """Takes the samples of a stretch of an input shard, and what joins them."""
        if self.count == 0:
            self.first = stretch.first
        self.count += stretch.stop - stretch.start
        self.digests.append(stretch.digest)
        self.joining += stretch.joining
        last = self.parts[-1] if self.parts else None
        if last is not None and (last.shard, last.stop) == (shard, stretch.start):
            self.parts[-1] = last._replace(stop=stretch.stop)
        else:
            self.parts.append(Part(shard, stretch.start, stretch.stop))

    def ended(self, stratum: Stratum) -> Planned:
        """Returns the shard."""
        digest = hashlib.blake2b("".join(self.digests).encode(), digest_size=16).hexdigest()
        return Planned(stratum, self.first, (*self.parts, *self.joining), digest)


def repeats(read: Callable[[], Iterable[Run]]) -> Repeats:
    """Returns the samples of keys that an earlier run of their stratum has; `read` gives all runs in their order.

    The first pass holds 8 bytes a sample, the second one the keys that may be there twice.
    """
    hashes = [np.fromiter(map(key_hash, run.keys), np.uint64, len(run.keys)) for run in read()]
    values, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *hashes]), return_counts=True)
    twice = set(values[counts > 1].tolist())
    seen: set[tuple[Stratum, str]] = set()
    again: dict[tuple[Stratum, str], list[Again]] = {}
    for stratum, shard, keys, digests in read() if twice else ():
        for at, (key, digest) in enumerate(zip(keys, digests, strict=True)):
            if key_hash(key) not in twice:
                continue
            if (stratum, key) in seen:
                part = Part(shard, at, at + 1, joins=True)
                again.setdefault((stratum, key), []).append(Again(part, digest))
            seen.add((stratum, key))
    return again


def runs(layout: Layout, composed: Iterable[Name]) -> Iterator[Run]:
    """Yields the runs of samples that phase compose left of input shards, in the order of sources and shards."""
    names = sorted(composed)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for first in range(0, len(names), 8 * _AT_ONCE):
            for found in pool.map(partial(_runs, layout), names[first : first + 8 * _AT_ONCE]):
                yield from found


def run_at(layout: Layout, stratum: Stratum, shard: str) -> Run:
    """Returns the run of a stratum that phase compose left of an input shard."""
    return next(run for run in _runs(layout, (stratum.source, shard)) if run.stratum == stratum)


def _runs(layout: Layout, name: Name) -> list[Run]:
    columns = ["group", "split", "key", "digest"]
    table = read_table(layout, layout.path("samples", *name), columns)
    return runs_of(name, zip(*(table[one].to_pylist() for one in columns), strict=True))


def runs_of(name: Name, samples: Iterable[tuple[str, str, str, str]]) -> list[Run]:
    """Returns the runs of an input shard's samples, given as (group, split, key, digest)."""
    found: dict[tuple[str, str], Run] = {}
    for group, split, key, digest in samples:
        run = found.setdefault((group, split), Run(Stratum(split, group, name[0]), name[1], [], []))
        run.keys.append(key)
        run.digests.append(digest)
    return list(found.values())
