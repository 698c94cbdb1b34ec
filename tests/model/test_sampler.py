"""The order of views."""

from collections import Counter
from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.sampler import CHUNK, TOGETHER, ConsumerSampler, MixtureSampler, StratumSampler
from model.shards import Place, Shard, Stratum

quotas = st.lists(
    st.one_of(
        st.integers(0, 3000).map(Fraction),
        st.fractions(0, 3000, max_denominator=1000),
    ),
    min_size=1,
    max_size=5,
).filter(lambda drawn: sum(drawn) >= 1)


def _places(shard: Shard, start: int, stop: int) -> list[Place]:
    """Three views to a sample."""
    return [divmod(number, 3) for number in range(start, stop)]


def _stratum(*rows: int) -> Stratum:
    return Stratum(
        "train", "vqa", "s", tuple(Shard(f"{at}", None, "vqa", count) for at, count in enumerate(rows))
    )


def _epoch(order: StratumSampler, epoch: int) -> list[tuple[str, Place]]:
    ordinals = range(epoch * order.views, (epoch + 1) * order.views)
    return [(shard.path, place) for shard, place in map(order.locate, ordinals)]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=20), st.integers(0, 5))
def test_epochs(rows: list[int], seed: int) -> None:
    """Each epoch holds every view once."""
    stratum = _stratum(*rows)
    order = StratumSampler(stratum, stratum.rows, seed, _places)
    every = sorted((shard.path, place) for shard in stratum.shards for place in _places(shard, 0, shard.rows))
    for epoch in range(2):
        assert sorted(_epoch(order, epoch)) == every


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=20), st.integers(0, 5), st.data())
def test_a_part_of_a_stratum(rows: list[int], seed: int, data: st.DataObject) -> None:
    """Where a stratum takes part with some of its views, these are the same, each once, in every epoch."""
    stratum = _stratum(*rows)
    views = data.draw(st.integers(1, stratum.rows))
    order = StratumSampler(stratum, views, seed, _places)
    first, second = _epoch(order, 0), _epoch(order, 1)
    assert len(set(first)) == views
    assert sorted(first) == sorted(second)
    there = {shard.path: shard.rows for shard in stratum.shards}
    assert all(3 * row + number < there[path] for path, (row, number) in first)


def test_a_part_is_from_many_places() -> None:
    """A small part of a large stratum comes from 16 places at least, and another seed takes another one."""
    stratum = _stratum(*[1000] * 50)
    parts = [{*_epoch(StratumSampler(stratum, 160, seed, _places), 0)} for seed in (1, 2)]
    assert len({path for path, _ in parts[0]}) > 8
    assert len(parts[0] & parts[1]) < 80


def test_shuffled_by_seed() -> None:
    """Seeds and epochs give different orders, the same seed the same; questions on an image stay together."""
    stratum = _stratum(300, 300)

    def order(seed: int, epoch: int = 0) -> list[tuple[str, Place]]:
        return _epoch(StratumSampler(stratum, 600, seed, _places), epoch)

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(1, 1)
    assert order(1) != sorted(order(1))
    images = [key for key, _ in groupby(order(1), key=lambda one: (one[0], one[1][0]))]
    # 200 images; a block of 256 views may cut one
    assert 200 <= len(images) <= 206


def test_one_image_does_not_fill_whole_steps() -> None:
    """Of an image with very many views at most 16 follow one another."""

    def crowded(shard: Shard, start: int, stop: int) -> list[Place]:
        return [divmod(number, 100) for number in range(start, stop)]

    order = StratumSampler(_stratum(2000), 2000, 0, crowded)
    runs = [len([*own]) for _, own in groupby(_epoch(order, 0), key=lambda one: one[1][0])]
    # two parts of one image may meet by chance
    assert sorted(runs)[len(runs) * 9 // 10] <= TOGETHER
    assert sum(runs) == 2000


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 2000), min_size=1, max_size=4),
    st.integers(1, 7),
    st.integers(0, 3),
)
def test_no_loss_no_repeat(rows: list[int], consumers: int, seed: int) -> None:
    """A finite order is dealt to any number of consumers, each view once."""
    counts = [Fraction(count) for count in rows]
    dealt: Counter[tuple[int, int]] = Counter()
    for consumer in range(consumers):
        dealt.update(ConsumerSampler(MixtureSampler(counts, seed, endless=False), consumer, consumers))
    assert dealt == Counter((at, ordinal) for at, count in enumerate(rows) for ordinal in range(count))


@settings(max_examples=50, deadline=None)
@given(quotas, st.integers(0, 9))
def test_quotas(drawn: list[Fraction], seed: int) -> None:
    """After any number of epochs each stratum was drawn its quota times that number, rounded down."""
    draws = MixtureSampler(drawn, seed)
    total = np.zeros(len(drawn), np.int64)
    ordinals: list[list[int]] = [[] for _ in drawn]
    for epoch in range(1, 4):
        while True:
            labels, numbers = draws.next()
            total += np.bincount(labels, minlength=len(drawn))
            for label, number in zip(labels.tolist(), numbers.tolist(), strict=True):
                ordinals[label].append(number)
            if not draws.left.any():
                break
        if draws.epoch + 1 == epoch:
            assert total.tolist() == [int(epoch * one) for one in drawn]
    assert all(own == [*range(len(own))] for own in ordinals)


@settings(max_examples=50, deadline=None)
@given(quotas, st.integers(0, 9))
def test_chunks(drawn: list[Fraction], seed: int) -> None:
    """In every chunk each stratum's draws are its share of what the epoch still holds, to within one."""
    draws = MixtureSampler(drawn, seed)
    for _ in range(4):
        left = draws.left.copy()
        if not left.any():
            following = draws.epoch + 1
            left = np.array([int((following + 1) * one) - int(following * one) for one in drawn], np.int64)
        labels, _ = draws.next()
        if left.any():
            assert len(labels) == min(CHUNK, left.sum())
            expected = left * len(labels) / left.sum()
            assert np.all(np.abs(np.bincount(labels, minlength=len(drawn)) - expected) < 1.0001)


@pytest.mark.parametrize("drawn", [[900, 3000], [Fraction(7, 3), Fraction(1, 7)]])
def test_resumed_deal(drawn: list[Fraction]) -> None:
    """A deal restored at any point goes on as the first would have."""
    first = ConsumerSampler(MixtureSampler(drawn, 3), 1, 3)
    dealing = iter(first)
    states, found = [], []
    for _ in range(1500):
        states.append(first.state())
        found.append(next(dealing))
    for at in (0, 1, 63, 64, 341, 342, 1000):
        again = ConsumerSampler(MixtureSampler(drawn, 3), 1, 3)
        again.restore(states[at])
        dealing = iter(again)
        assert [next(dealing) for _ in range(400)] == found[at : at + 400]
