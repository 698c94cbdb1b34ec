"""Near pairs of hashes, against comparing all with all."""

import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import hamming
from filters.hamming import ALL_BITS, U64, Edges, Nearest, block_masks, distances, near_edges

SEED_BITS = st.integers(0, ALL_BITS)


@st.composite
def crowds(draw: st.DrawFn) -> U64:
    """Distinct hashes of which many are near one another."""
    values = set()
    for seed in draw(st.lists(SEED_BITS, min_size=1, max_size=4)):
        values.add(seed)
        for flips in draw(st.lists(st.lists(st.integers(0, 63), max_size=7), max_size=12)):
            values.add(seed ^ sum(1 << place for place in set(flips)))
    return np.array(draw(st.permutations(sorted(values))), np.uint64)


def every_pair(values: U64, distance: int) -> set[tuple[int, int]]:
    found = set()
    for i, left in enumerate(values.tolist()):
        for right in values.tolist()[i + 1 :]:
            if (left ^ right).bit_count() <= distance:
                found.add((min(left, right), max(left, right)))
    return found


def told(chunks: Iterable[Edges]) -> list[tuple[int, int]]:
    pairs = []
    for left, right in chunks:
        pairs += [(min(p), max(p)) for p in zip(left.tolist(), right.tolist(), strict=True)]
    return pairs


def groups(pairs: Iterable[tuple[int, int]]) -> set[frozenset[int]]:
    """Connected components by merging sets, as slow as it is plain."""
    parts: list[set[int]] = []
    for pair in pairs:
        touched = [part for part in parts if part & set(pair)]
        parts = [part for part in parts if not part & set(pair)] + [set(pair).union(*touched)]
    return {frozenset(part) for part in parts}


@given(st.lists(st.tuples(SEED_BITS, SEED_BITS), max_size=20))
def test_distance_is_the_number_of_differing_bits(pairs: list[tuple[int, int]]) -> None:
    """The distance equals the count of ones in the exclusive or, as Python's integers have it."""
    left, right = (np.array([pair[side] for pair in pairs], np.uint64) for side in (0, 1))
    assert distances(left, right).tolist() == [(a ^ b).bit_count() for a, b in pairs]


@given(
    SEED_BITS,
    st.sets(st.integers(0, 63), max_size=10),
    st.integers(0, 10**10),
    st.integers(0, ALL_BITS),
)
def test_two_values_within_the_distance_agree_under_some_mask(
    value: int, flips: set[int], count: int, bits: int
) -> None:
    """Whatever bits differ inside the bits that may, a mask leaves all of them out."""
    other = value ^ sum(1 << place for place in flips if bits >> place & 1)
    masks = block_masks(len(flips), count, bits)
    assert (((np.uint64(value ^ other)) & masks) == 0).any()
    assert ((masks & np.uint64(ALL_BITS ^ bits)) == 0).all()
    assert len(masks) <= hamming.MOST_MASKS


@given(crowds(), st.integers(0, 10))
def test_every_near_pair_is_told_once_where_no_bucket_is_crowded(values: U64, distance: int) -> None:
    """The pairs told are exactly those that a comparison of all with all finds, none twice."""
    pairs = told(near_edges(values, distance))
    assert sorted(pairs) == sorted(every_pair(values, distance))


@pytest.mark.parametrize(("huge", "farthest"), [(1 << 17, 8), (4, 2)])
@settings(max_examples=200)
@given(values=crowds(), data=st.data())
def test_crowded_buckets_connect_what_is_near(
    huge: int, farthest: int, values: U64, data: st.DataObject
) -> None:
    """Flooded and re-cut buckets tell only near pairs, and enough to connect the same values."""
    distance = data.draw(st.integers(0, farthest))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "CROWDED", 2)
        patch.setattr(hamming, "HUGE", huge)
        patch.setattr(hamming, "TILE", 16)
        patch.setattr(hamming, "SEEDS", 3)
        pairs = told(near_edges(values, distance))
    near = every_pair(values, distance)
    assert set(pairs) <= near
    assert groups(pairs) == groups(near)


def test_a_value_between_two_roots_joins_both() -> None:
    """In a crowded bucket a value near two others that are not near each other connects them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "CROWDED", 2)
        for last in (0, 2, 8, 32):
            values = np.array([v for v in (0, 2, 8, 32) if v != last] + [last], np.uint64)
            assert groups(told(near_edges(values, 1))) == {frozenset({0, 2, 8, 32})}


def test_a_ball_of_near_values_gives_edges_in_proportion_to_its_values() -> None:
    """A crowd within four bits of one hash has hundreds of millions of near pairs; few are told."""
    rng = np.random.default_rng(5)
    places = np.sort(rng.integers(0, 64, (40_000, 4)).astype(np.uint64), axis=1)
    values = np.unique(np.bitwise_xor.reduce(np.uint64(1) << places, axis=1))
    pairs = sum(len(left) for left, _ in near_edges(values, 4))
    masks = len(block_masks(4, len(values)))
    assert len(values) > 30_000
    assert pairs < masks * len(values) * 4


@settings(max_examples=60, deadline=None)
@given(
    values=crowds(),
    others=crowds(),
    distance=st.integers(0, 16),
    cut=st.integers(0, 20),
    tile=st.integers(1, 64),
    many=st.sampled_from([0, hamming.ROOMY]),
)
def test_the_nearest_is_that_of_a_comparison_of_all_with_all(
    values: U64, others: U64, distance: int, cut: int, tile: int, many: int
) -> None:
    """Each hash finds the nearest fixed one, of equals the first, or none, however the work is cut."""
    looked = np.concatenate([others, values[:cut]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "TILE", tile)
        patch.setattr(hamming, "ROOMY", many)
        places, apart = Nearest(values, distance).find(looked)
    for value, place, bits in zip(looked.tolist(), places.tolist(), apart.tolist(), strict=True):
        every = [((value ^ one).bit_count(), number) for number, one in enumerate(values.tolist())]
        near = [one for one in every if one[0] <= distance]
        assert (bits, place) == (min(near) if near else (0, -1))


def test_nothing_is_near_where_nothing_is_fixed() -> None:
    """Without fixed hashes every hash finds none."""
    places, _ = Nearest(np.empty(0, np.uint64), 4).find(np.arange(5, dtype=np.uint64))
    assert places.tolist() == [-1] * 5


def test_many_fixed_hashes_take_little_memory() -> None:
    """The tables of many hashes are built mask by mask: at no time do they take above 16 bytes a hash and mask."""
    values = np.random.default_rng(3).integers(0, ALL_BITS, 400_000, dtype=np.uint64)
    tracemalloc.start()
    Nearest(values, 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * len(values) * len(block_masks(4, len(values)))


def test_no_values_have_no_pairs() -> None:
    """An empty array gives nothing, at any distance."""
    assert told(near_edges(np.empty(0, np.uint64), 4)) == []
