"""The sampler: the order of views, shuffled by a seed, the same whatever the number of ranks and workers.

One global sequence of draws names strata, in each epoch as often as their quotas say; the n-th draw of a stratum is
the n-th view of its own shuffled, endless order. Consumers take runs of draws in turn, so together they take each draw
once.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.shards import Place, Shard, Stratum

Ints = NDArray[np.int64]
Places = Callable[[Shard, int, int], Sequence[Place]]
"""Where the views `start` to `stop` of a shard lie."""

CHUNK: Final = 1024
"""Draws that are dealt at once; quotas are met to within one draw in each chunk."""
RUN: Final = 64
"""Draws that one consumer takes before the next consumer's turn: questions on one image stay together."""
BLOCK: Final = 256
"""Views that are read together."""
WINDOW: Final = 16
"""Blocks, from anywhere in the stratum, whose views are shuffled together."""
TOGETHER: Final = 16
"""Views of one sample that are drawn one after the other at most, so that one image does not fill whole steps."""

_BLOCKS: Final = 1 << 20


def generator(*parts: int | str) -> np.random.Generator:
    """Returns a generator of its own for each purpose."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "big") for part in parts]
    return np.random.default_rng(np.random.SeedSequence(words))


class MixtureSampler:
    """Draws strata in chunks: in each epoch a stratum as often as its quota, to within one, and exactly over epochs.

    `counts` are the draws of each stratum so far, `drawn` their sum, `left` what the epoch still holds.
    """

    def __init__(self, quotas: Sequence[Fraction], seed: int, endless: bool = True) -> None:
        self.quotas, self.seed, self.endless = tuple(quotas), seed, endless
        self.chunk = self.drawn = self.epoch = 0
        self.counts, self.left = np.zeros(len(quotas), np.int64), self._quota(0)

    def _quota(self, epoch: int) -> Ints:
        """Returns how often an epoch draws each stratum."""
        return np.array([int((epoch + 1) * one) - int(epoch * one) for one in self.quotas], np.int64)

    def next(self) -> tuple[Ints, Ints]:
        """Returns stratum and ordinal of each draw of the next chunk; empty where a finite order has ended."""
        while self.endless and not self.left.any():
            self.epoch += 1
            self.left = self._quota(self.epoch)
        random = generator(self.seed, "draws", self.chunk)
        taken = self._taken(random)
        labels = np.repeat(np.arange(len(taken)), taken)
        random.shuffle(labels)
        ordinals = np.empty_like(labels)
        for stratum in np.flatnonzero(taken):
            mine = labels == stratum
            ordinals[mine] = self.counts[stratum] + np.arange(taken[stratum])
        self.counts, self.left = self.counts + taken, self.left - taken
        self.chunk += 1
        self.drawn += len(labels)
        return labels, ordinals

    def _taken(self, random: np.random.Generator) -> Ints:
        """Returns how often a chunk draws each stratum: equal steps, from a random start, through what is left."""
        left = int(self.left.sum())
        size = min(CHUNK, left)
        points = (np.arange(size) + random.random()) * (left / max(size, 1))
        labels = np.searchsorted(np.cumsum(self.left), points, side="right")
        return np.bincount(labels, minlength=len(self.left)).astype(np.int64)

    def state(self) -> dict[str, Any]:
        """Returns what `restore` needs, as JSON values."""
        counts, left = self.counts.tolist(), self.left.tolist()
        return {"chunk": self.chunk, "drawn": self.drawn, "epoch": self.epoch, "counts": counts, "left": left}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from where `state` was taken."""
        self.chunk, self.drawn, self.epoch = state["chunk"], state["drawn"], state["epoch"]
        self.counts, self.left = np.array(state["counts"], np.int64), np.array(state["left"], np.int64)


class StratumSampler:
    """Orders `views` of one stratum's views without end: each epoch a new shuffle that holds each of them once.

    Where these are not all, they are the same in each epoch, from 16 places of the stratum or more. Up to 16 views of
    one sample follow one another: they show the same image.
    """

    def __init__(self, stratum: Stratum, views: int, seed: int, places: Places, shuffle: bool = True) -> None:
        self.stratum, self.views = stratum, views
        self._seed, self._places, self._shuffle = seed, places, shuffle
        self._blocks = self._chosen()
        self._epoch = lru_cache(2)(self._shuffled_blocks)
        self._window = lru_cache(2)(self._shuffled_views)

    def locate(self, ordinal: int) -> tuple[Shard, Place]:
        """Returns the shard of the n-th view, and where it lies there."""
        epoch, at = divmod(ordinal, self.views)
        _, edges = self._epoch(epoch)
        window = int(np.searchsorted(edges, at, side="right")) - 1
        shard, place = self._window(epoch, window)[at - int(edges[window])]
        return self.stratum.shards[shard], place

    def _chosen(self) -> list[tuple[int, int, int]]:
        """Returns the blocks that take part, as number of the shard, first and last view."""
        every = self.stratum.rows
        part = self.views < every
        size = min(BLOCK, max(self.views // WINDOW, -(-every // _BLOCKS), 1)) if part else BLOCK
        blocks = [
            (at, start, min(start + size, shard.rows))
            for at, shard in enumerate(self.stratum.shards)
            for start in range(0, shard.rows, size)
        ]
        if not part:
            return blocks
        order = generator(self._seed, self.stratum.name, "part").permutation(len(blocks))
        chosen: list[tuple[int, int, int]] = []
        wanted = self.views
        for at in order:
            shard, start, stop = blocks[at]
            stop = min(stop, start + wanted)
            chosen.append((shard, start, stop))
            wanted -= stop - start
            if not wanted:
                break
        return sorted(chosen)

    def _shuffled_blocks(self, epoch: int) -> tuple[Ints, Ints]:
        """Returns the order of blocks, and the ordinal at which each window of them starts."""
        order = np.arange(len(self._blocks))
        if self._shuffle:
            order = generator(self._seed, self.stratum.name, "blocks", epoch).permutation(order)
        sizes = np.array([self._blocks[at][2] - self._blocks[at][1] for at in order])
        return order, np.concatenate([[0], np.cumsum(sizes)])[::WINDOW]

    def _shuffled_views(self, epoch: int, window: int) -> list[tuple[int, Place]]:
        order, _ = self._epoch(epoch)
        units = self._units([self._blocks[at] for at in order[window * WINDOW : (window + 1) * WINDOW]])
        if self._shuffle:
            random = generator(self._seed, self.stratum.name, "rows", epoch, window)
            units = [units[at] for at in random.permutation(len(units))]
        return [view for unit in units for view in unit]

    def _units(self, blocks: Sequence[tuple[int, int, int]]) -> list[list[tuple[int, Place]]]:
        """Returns the views of blocks, those of one sample together."""
        units: list[list[tuple[int, Place]]] = []
        for shard, start, stop in blocks:
            places = self._places(self.stratum.shards[shard], start, stop)
            for _, own in groupby(places, key=lambda place: place[0]):
                views = [(shard, place) for place in own]
                units += [views[at : at + TOGETHER] for at in range(0, len(views), TOGETHER)]
        return units


class ConsumerSampler:
    """Takes one consumer's share of the draws, of `consumers` in all."""

    def __init__(self, draws: MixtureSampler, consumer: int, consumers: int) -> None:
        self.draws, self.consumer, self.consumers = draws, consumer, consumers
        self._before = draws.state()
        self._skip = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yields stratum and ordinal of each draw of this consumer."""
        while True:
            self._before = self.draws.state()
            first = self.draws.drawn
            labels, ordinals = self.draws.next()
            if len(labels) == 0:
                return
            turn = (first + np.arange(len(labels))) // RUN % self.consumers
            for at in np.flatnonzero(turn == self.consumer):
                if at >= self._skip:
                    self._skip = int(at) + 1
                    yield int(labels[at]), int(ordinals[at])
            self._skip = 0

    def state(self) -> dict[str, Any]:
        """Returns what `restore` needs, as JSON values."""
        return {"draws": self._before, "skip": self._skip}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from where `state` was taken."""
        self.draws.restore(state["draws"])
        self._before, self._skip = state["draws"], state["skip"]
