"""Pairs of 64-bit hashes within a Hamming distance, without comparing all with all.

Cut the 64 bits into m blocks: two values that differ in at most d bits differ in at most d blocks, so
they agree on some m - d of them. Under the mask of every such choice the values are put into buckets
of equal masked bits, and only values that share a bucket are compared. Larger m means smaller buckets
and more of them (C(m, d) masks); m follows the number of values.

Where a bucket is crowded not every pair is told, but enough of them to connect whatever is connected:
edges stay in proportion to values however dense the bucket is.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
Edges = tuple[U64, U64]

ALL_BITS: Final = (1 << 64) - 1
FULL: Final = 64
"""Values a bucket should hold on average, at most; above it finer blocks cost less than comparisons."""
MOST_MASKS: Final = 300
CROWDED: Final = 1024
"""From this size on a bucket is flooded, not compared pair by pair."""
HUGE: Final = 1 << 17
"""From this size on a bucket is cut into buckets again."""
TILE: Final = 1 << 20
"""Comparisons held in memory at once."""
LOOKED: Final = 20_000
"""Buckets looked into at once: arrays of their size stay in a core's cache."""
SEEDS: Final = 64
DENSE: Final = 4
"""While one value in so many has a neighbour that far on in its bucket, all are compared with theirs."""

ROOMY: Final = 1 << 19
"""Up to so many buckets `Buckets` has eight for each number, so that few hold another than the one asked for."""

_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_BYTE_BITS: Final[U64] = (
    np.arange(256, dtype=np.uint64)[:, None] >> np.arange(8, dtype=np.uint64)
) & np.uint64(1)
_FAR_PLACE: Final = 1 << 32
_FAR: Final = 65 * _FAR_PLACE
"""Beyond every distance; a distance and a place are one number, the place in the lower 32 bits."""


def distances(left: U64, right: U64) -> npt.NDArray[np.uint8]:
    """Number of bits in which `left` and `right` differ, elementwise with broadcasting."""
    bits: npt.NDArray[np.uint8] = np.bitwise_count(left ^ right)
    return bits


def block_masks(distance: int, count: int, bits: int = ALL_BITS) -> U64:
    """Masks within `bits`; any two values that differ in at most `distance` of them agree under one.

    `count` is the number of values: the more, the more bits a mask has, so that buckets stay small.
    A block's bits lie far apart, since neighbouring bits of a picture's hash go together.
    """
    places = [place for place in range(64) if bits >> place & 1]
    if distance >= len(places):
        return np.zeros(1, np.uint64)
    blocks = distance + 1
    while (
        count > FULL << (len(places) * (blocks - distance) // blocks)
        and blocks < len(places)
        and comb(blocks + 1, distance) <= MOST_MASKS
    ):
        blocks += 1
    parts = [sum(1 << place for place in places[start::blocks]) for start in range(blocks)]
    return np.array([sum(chosen) for chosen in combinations(parts, blocks - distance)], np.uint64)


def near_edges(values: U64, distance: int, bits: int = ALL_BITS) -> Iterator[Edges]:
    """Pairs (left, right) of `values` within `distance`, in chunks, that connect all that is connected.

    `values` are distinct and agree outside `bits`. Every pair told is within the distance; two values
    within it are joined by a path of pairs told. Memory is in proportion to the values.
    """
    masks = block_masks(distance, len(values), bits)
    for index in range(len(masks)):
        yield from bucket_edges(values, masks, index, distance, bits)


def bucket_edges(values: U64, masks: U64, index: int, distance: int, bits: int = ALL_BITS) -> Iterator[Edges]:
    """The share of mask `index` in the edges that `near_edges` tells.

    A pair that also meets under an earlier mask is left to that one. `values` may be any union of
    whole buckets of this mask.
    """
    there, back = _permutations(int(masks[index]))
    # the bits under the mask on top: the values sorted as plain numbers are sorted by bucket
    values = np.sort(_permuted(values, there))
    masked = values >> np.uint64(64 - int(masks[index]).bit_count())
    fresh = np.ones(len(values), np.bool_)
    fresh[1:] = masked[1:] != masked[:-1]
    starts = np.flatnonzero(fresh)
    sizes = np.diff(starts, append=len(values))
    crowded = sizes > CROWDED
    ends = np.repeat(starts + np.where(crowded, 0, sizes), sizes)
    for left, right in _compare(values, ends, _permuted(masks[:index], there), distance):
        yield _permuted(left, back), _permuted(right, back)
    free = bits & ~int(masks[index])
    for start, size in zip(starts[crowded].tolist(), sizes[crowded].tolist(), strict=True):
        bucket = _permuted(values[start : start + size], back)
        # cutting again helps only while blocks of the bits that are left still tell values apart
        if size > HUGE and free.bit_count() > 2 * (distance + 1):
            yield from near_edges(bucket, distance, free)
        else:
            yield from _flood(bucket, distance)


def _permutations(mask: int) -> tuple[U64, U64]:
    """Tables for `_permuted` that move the bits under a mask to the top, and that move them back."""
    places = np.array(sorted(range(64), key=lambda place: (mask >> place & 1, place)))
    return _tables(np.argsort(places)), _tables(places)


def _tables(places: npt.NDArray[np.int64]) -> U64:
    """Returns (8, 256): what each byte of a number becomes where its bit i goes to place `places[i]`."""
    to = places.astype(np.uint64).reshape(8, 1, 8)
    tables: U64 = (_BYTE_BITS << to).sum(axis=2, dtype=np.uint64)
    return tables


def _permuted(values: U64, tables: U64) -> U64:
    """The values with their bits at other places; distances stay."""
    parts = np.ascontiguousarray(values, "<u8").view(np.uint8).reshape(-1, 8)
    found = np.zeros(len(values), np.uint64)
    for table, part in zip(tables, parts.T, strict=True):
        found |= table.take(part)
    return found


def _compare(values: U64, ends: npt.NDArray[np.int64], earlier: U64, distance: int) -> Iterator[Edges]:
    """All near pairs inside runs of `values`; `ends` says for each value where its run ends."""
    longer = np.cumsum(np.bincount(np.maximum(ends - np.arange(len(ends)), 0)))
    step = 1
    # while most runs last, all neighbours are compared: that reads memory in order
    while step < len(longer) and DENSE * (len(values) - int(longer[step])) > len(values):
        near = np.flatnonzero(np.bitwise_count(values[step:] ^ values[:-step]) <= distance)
        near = near[near + step < ends[near]]
        yield from _unseen(values[near], values[near + step], earlier)
        step += 1
    active = np.flatnonzero(np.arange(len(values)) + step < ends)
    while len(active):
        left, right = values[active], values[active + step]
        near = np.bitwise_count(left ^ right) <= distance
        yield from _unseen(left[near], right[near], earlier)
        step += 1
        active = active[active + step < ends[active]]


def _unseen(left: U64, right: U64, earlier: U64) -> Iterator[Edges]:
    """Those pairs that meet under none of the earlier masks."""
    if len(left):
        fresh = ~(((left ^ right)[:, None] & earlier) == 0).any(axis=1)
        yield left[fresh], right[fresh]


class Hits(NamedTuple):
    """Buckets that hold something: of which number each is, where it starts in the order, and how much it holds."""

    numbers: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]


class Buckets:
    """Fixed numbers in buckets under every mask, so that those equal to a given one there are found at once.

    A bucket may hold others as well. `order` has the places of the numbers, bucket by bucket, mask by mask.
    """

    def __init__(self, numbers: U64, masks: Sequence[int] = (ALL_BITS,)) -> None:
        bits = (max(len(numbers), min(8 * len(numbers), ROOMY), 2) - 1).bit_length()
        self._masks = np.array(masks, np.uint64)[:, None]
        self._shift = np.uint64(64 - bits)
        self._tables = np.arange(len(masks))[:, None] << bits
        self.order = np.empty(len(masks) * len(numbers), np.int32)
        # a bucket ends where the next one starts, that of the next mask too
        self._starts = np.zeros((len(masks) << bits) + 1, np.min_scalar_type(len(self.order)))
        for place, mask in enumerate(self._masks[:, 0]):
            self._fill(place, self._bucket(numbers, mask), bits)

    def _fill(self, place: int, buckets: npt.NDArray[np.int64], bits: int) -> None:
        """Writes the table of one mask, given the bucket of each number."""
        first, table = place * len(buckets), (place << bits) + 1
        # numpy sorts numbers of 16 bits faster
        order = np.argsort(buckets.astype(np.min_scalar_type((1 << bits) - 1)), kind="stable")
        self.order[first : first + len(buckets)] = order
        sizes = np.bincount(buckets, minlength=1 << bits)
        sizes[0] += first
        self._starts[table : table + len(sizes)] = np.cumsum(sizes, out=sizes)

    def find(self, numbers: U64) -> Hits:
        """The buckets of those numbers, by their places, whose buckets hold something, mask by mask."""
        buckets = self._bucket(numbers, self._masks)
        buckets += self._tables
        buckets = buckets.reshape(-1)
        starts = self._starts[buckets]
        buckets += 1
        sizes = self._starts[buckets] - starts
        hit = np.flatnonzero(sizes != 0)
        # numpy divides many times faster than it takes remainders
        number = hit - hit // max(1, len(numbers)) * len(numbers)
        return Hits(number, starts[hit].astype(np.int64), sizes[hit].astype(np.int32))

    def _bucket(self, numbers: U64, masks: U64 | np.uint64) -> npt.NDArray[np.int64]:
        found = numbers & masks
        found *= _ODD
        found >>= self._shift
        return found.view(np.int64)


def pairs_of(hits: Hits, order: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Each number with each place that its bucket holds."""
    heads = np.cumsum(hits.sizes, dtype=np.int64) - hits.sizes
    places = np.repeat(hits.starts - heads, hits.sizes)
    places += np.arange(len(places))
    return np.repeat(hits.numbers, hits.sizes), order[places]


class Nearest:
    """Finds, for any hashes, the nearest of some fixed ones within a distance; exact.

    The fixed hashes lie in buckets under every mask of `block_masks`, so a hash is compared with those alone
    that share a bucket with it: memory is in proportion to the fixed ones, however many are looked up.
    """

    def __init__(self, values: U64, distance: int) -> None:
        self._values = values
        self._distance = distance
        masks = block_masks(distance, len(values)).tolist()
        self._buckets = Buckets(values, masks)
        self._step = max(1, LOOKED // len(masks))

    def find(self, hashes: U64) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each hash the place of the nearest fixed one, of equals the first, or -1; and their distance."""
        best = np.full(len(hashes), _FAR, np.int64)
        for first in range(0, len(hashes), self._step):
            tile = hashes[first : first + self._step]
            for part in _parts(self._buckets.find(tile)):
                looked, places = pairs_of(part, self._buckets.order)
                apart = distances(tile[looked], self._values[places])
                near = np.flatnonzero(apart <= self._distance)
                found = (apart[near].astype(np.int64) << 32) | places[near]
                np.minimum.at(best, first + looked[near], found)
        return np.where(best < _FAR, best & (_FAR_PLACE - 1), -1), np.where(best < _FAR, best >> 32, 0)


def _parts(hits: Hits) -> Iterator[Hits]:
    """The hits in runs that make about TILE comparisons at most."""
    if int(hits.sizes.sum(dtype=np.int64)) <= TILE:
        yield hits
        return
    runs = np.cumsum(hits.sizes, dtype=np.int64) // TILE
    ends = [*(np.flatnonzero(np.diff(runs)) + 1).tolist(), len(runs)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield Hits(hits.numbers[start:end], hits.starts[start:end], hits.sizes[start:end])


def _flood(values: U64, distance: int) -> Iterator[Edges]:
    """Edges that connect what is near, found by flooding: a value reached once is not sought again.

    So a dense bucket costs little more than reading it, and a sparse one a comparison of all with all, in
    tiles of bounded size. One root at a time: what two floods reach would be told to one of them only.
    """
    rest = values
    roots = 0  # so many, the first of the rest, are known to have a neighbour
    while len(rest):
        if not roots:
            batch, others = rest[:SEEDS], rest[SEEDS:]
            batch = batch[_has_neighbour(batch, rest, distance)]
            rest, roots = np.concatenate([batch, others]), len(batch)
            continue
        front, rest, roots = rest[:1], rest[1:], roots - 1
        while len(front) and len(rest):
            tile = front[: max(1, TILE // len(rest))]
            front = front[len(tile) :]
            near = distances(tile[:, None], rest) <= distance
            hit: npt.NDArray[np.bool_] = np.any(near, axis=0)
            if hit.any():
                yield tile[near[:, hit].argmax(axis=0)], rest[hit]
                front, rest = np.concatenate([front, rest[hit]]), rest[~hit]
                roots -= int(np.count_nonzero(hit[:roots]))


def _has_neighbour(batch: U64, values: U64, distance: int) -> npt.NDArray[np.bool_]:
    """Which of `batch` are near another of `values`, of which they are part."""
    counts = np.zeros(len(batch), np.int64)
    step = max(1, TILE // max(1, len(batch)))
    for start in range(0, len(values), step):
        near = distances(batch[:, None], values[start : start + step]) <= distance
        counts += np.count_nonzero(near, axis=1)
    found: npt.NDArray[np.bool_] = counts > 1
    return found
