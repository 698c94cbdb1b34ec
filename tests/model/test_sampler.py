"""The order of samples."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.sampler import CHUNK, ConsumerSampler, MixtureSampler, StratumSampler
from model.shards import Shard, Stratum


def _keys(shard: Shard, start: int, stop: int) -> list[str]:
    """Three views to a sample."""
    return [f"{shard.path}{row // 3:04d}" for row in range(start, stop)]


def _stratum(*rows: int) -> Stratum:
    return Stratum(
        "train", "vqa", "s", tuple(Shard(f"{at}", None, "vqa", count) for at, count in enumerate(rows))
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=20), st.integers(0, 5))
def test_epochs(rows: list[int], seed: int) -> None:
    """Each epoch holds every row once."""
    stratum = _stratum(*rows)
    order = StratumSampler(stratum, seed, _keys)
    every = sorted((shard.path, row) for shard in stratum.shards for row in range(shard.rows))
    for epoch in range(2):
        ordinals = range(epoch * stratum.rows, (epoch + 1) * stratum.rows)
        found = [(shard.path, row) for shard, row in map(order.locate, ordinals)]
        assert sorted(found) == every


def test_shuffled_by_seed() -> None:
    """Seeds and epochs give different orders, the same seed the same; questions on an image stay together."""
    stratum = _stratum(300, 300)

    def order(seed: int, epoch: int = 0) -> list[tuple[str, int]]:
        made = StratumSampler(stratum, seed, _keys)
        return [(s.path, r) for s, r in map(made.locate, range(600 * epoch, 600 * (epoch + 1)))]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(1, 1)
    assert order(1) != sorted(order(1))
    apart = sum(a[1] // 3 != b[1] // 3 or a[0] != b[0] for a, b in zip(order(1), order(1)[1:], strict=False))
    # 200 images; a block of 256 rows may cut one
    assert 199 <= apart <= 206


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 2000), min_size=1, max_size=4),
    st.integers(1, 7),
    st.integers(0, 3),
)
def test_no_loss_no_repeat(rows: list[int], consumers: int, seed: int) -> None:
    """A finite order is dealt to any number of consumers, each sample once."""
    counts = np.array(rows, np.int64)
    dealt: Counter[tuple[int, int]] = Counter()
    for consumer in range(consumers):
        dealt.update(ConsumerSampler(MixtureSampler(counts, None, seed, endless=False), consumer, consumers))
    assert dealt == Counter((at, ordinal) for at, count in enumerate(rows) for ordinal in range(count))


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=5), st.integers(0, 9))
def test_weights(weights: list[float], seed: int) -> None:
    """In every chunk each stratum's draws are its weight's share to within one."""
    draws = MixtureSampler(np.full(len(weights), 10, np.int64), np.array(weights), seed)
    for _ in range(3):
        labels, _ = draws.next()
        counts = np.bincount(labels, minlength=len(weights))
        assert np.all(np.abs(counts - CHUNK * np.array(weights) / sum(weights)) < 1.0001)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0])])
def test_resumed_deal(weights: np.ndarray | None) -> None:
    """A deal restored at any point goes on as the first would have."""
    rows = np.array([900, 3000], np.int64)
    first = ConsumerSampler(MixtureSampler(rows, weights, 3), 1, 3)
    dealing = iter(first)
    states, drawn = [], []
    for _ in range(1500):
        states.append(first.state())
        drawn.append(next(dealing))
    for at in (0, 1, 63, 64, 341, 342, 1000):
        again = ConsumerSampler(MixtureSampler(rows, weights, 3), 1, 3)
        again.restore(states[at])
        dealing = iter(again)
        assert [next(dealing) for _ in range(400)] == drawn[at : at + 400]
