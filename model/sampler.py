"""The sampler: the order of samples, shuffled by a seed, the same whatever the number of ranks and workers.

One global sequence of draws names strata by weight; the n-th draw of a stratum is the n-th sample of its
own shuffled, endless order. Consumers take runs of draws in turn, so together they take each draw once.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.shards import Shard, Stratum

Ints = NDArray[np.int64]
Keys = Callable[[Shard, int, int], list[str]]
"""The keys of the samples of the views `start` to `stop` of a shard."""

CHUNK: Final = 1024
"""Draws that are dealt at once; weights are met to within one draw in each chunk."""
RUN: Final = 64
"""Draws that one consumer takes before the next consumer's turn: questions on one image stay together."""
BLOCK: Final = 256
"""Rows that are read together."""
WINDOW: Final = 16
"""Blocks, from anywhere in the stratum, whose rows are shuffled together."""


def generator(*parts: int | str) -> np.random.Generator:
    """Returns a generator of its own for each purpose."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "big") for part in parts]
    return np.random.default_rng(np.random.SeedSequence(words))


class MixtureSampler:
    """Draws strata by weight, in chunks. Without weights each epoch holds every sample exactly once.

    `counts` are the draws of each stratum so far, `drawn` their sum, `left` what the epoch still holds.
    """

    def __init__(
        self, rows: Ints, weights: NDArray[np.float64] | None, seed: int, endless: bool = True
    ) -> None:
        self.rows, self.weights, self.seed, self.endless = rows, weights, seed, endless
        self.chunk = self.drawn = 0
        self.counts, self.left = np.zeros_like(rows), rows.copy()

    def next(self) -> tuple[Ints, Ints]:
        """Returns stratum and ordinal of each draw of the next chunk; empty where a finite order has ended."""
        random = generator(self.seed, "draws", self.chunk)
        taken = self._natural(random) if self.weights is None else self._weighted(random)
        labels = np.repeat(np.arange(len(self.rows)), taken)
        random.shuffle(labels)
        ordinals = np.empty_like(labels)
        for stratum in np.flatnonzero(taken):
            mine = labels == stratum
            ordinals[mine] = self.counts[stratum] + np.arange(taken[stratum])
        self.counts = self.counts + taken
        self.chunk += 1
        self.drawn += len(labels)
        return labels, ordinals

    def _natural(self, random: np.random.Generator) -> Ints:
        if self.endless and self.left.sum() == 0:
            self.left = self.rows.copy()
        size = min(CHUNK, int(self.left.sum()))
        taken: Ints = random.multivariate_hypergeometric(self.left, size, method="marginals")
        self.left = self.left - taken
        return taken

    def _weighted(self, random: np.random.Generator) -> Ints:
        assert self.weights is not None
        points = (np.arange(CHUNK) + random.random()) / CHUNK
        edges = np.cumsum(self.weights / self.weights.sum())
        labels = np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1)
        return np.bincount(labels, minlength=len(self.rows)).astype(np.int64)

    def state(self) -> dict[str, Any]:
        """Returns what `restore` needs, as JSON values."""
        counts, left = self.counts.tolist(), self.left.tolist()
        return {"chunk": self.chunk, "drawn": self.drawn, "counts": counts, "left": left}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from where `state` was taken."""
        self.chunk, self.drawn = state["chunk"], state["drawn"]
        self.counts, self.left = np.array(state["counts"], np.int64), np.array(state["left"], np.int64)


class StratumSampler:
    """Orders one stratum's samples without end: each epoch a new shuffle that holds every sample once.

    Views of one sample, neighbours in their shard, stay neighbours.
    """

    def __init__(self, stratum: Stratum, seed: int, keys: Keys, shuffle: bool = True) -> None:
        self.stratum = stratum
        self._seed, self._keys, self._shuffle = seed, keys, shuffle
        self._blocks = [
            (at, start, min(start + BLOCK, shard.rows))
            for at, shard in enumerate(stratum.shards)
            for start in range(0, shard.rows, BLOCK)
        ]
        self._epoch = lru_cache(2)(self._shuffled_blocks)
        self._window = lru_cache(2)(self._shuffled_rows)

    def locate(self, ordinal: int) -> tuple[Shard, int]:
        """Returns shard and row of the n-th sample."""
        epoch, at = divmod(ordinal, self.stratum.rows)
        _, edges = self._epoch(epoch)
        window = int(np.searchsorted(edges, at, side="right")) - 1
        shard, row = self._window(epoch, window)[at - int(edges[window])]
        return self.stratum.shards[shard], row

    def _shuffled_blocks(self, epoch: int) -> tuple[Ints, Ints]:
        """Returns the order of blocks, and the ordinal at which each window of them starts."""
        order = np.arange(len(self._blocks))
        if self._shuffle:
            order = generator(self._seed, self.stratum.name, "blocks", epoch).permutation(order)
        sizes = np.array([self._blocks[at][2] - self._blocks[at][1] for at in order])
        return order, np.concatenate([[0], np.cumsum(sizes)])[::WINDOW]

    def _shuffled_rows(self, epoch: int, window: int) -> list[tuple[int, int]]:
        order, _ = self._epoch(epoch)
        units = self._units([self._blocks[at] for at in order[window * WINDOW : (window + 1) * WINDOW]])
        if self._shuffle:
            random = generator(self._seed, self.stratum.name, "rows", epoch, window)
            units = [units[at] for at in random.permutation(len(units))]
        return [row for unit in units for row in unit]

    def _units(self, blocks: Sequence[tuple[int, int, int]]) -> list[list[tuple[int, int]]]:
        units: list[list[tuple[int, int]]] = []
        for shard, start, stop in blocks:
            previous = None
            for row, key in enumerate(self._keys(self.stratum.shards[shard], start, stop), start):
                if key == previous:
                    units[-1].append((shard, row))
                else:
                    units.append([(shard, row)])
                previous = key
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
