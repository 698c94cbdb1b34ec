"""Components and stars, against slow and plain references."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from filters.clusters import Near, components, forest, large_star, small_star, star_centres
from filters.hamming import U64, Edges, distances

EDGES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda e: e[0] != e[1]), max_size=60
)


def as_arrays(edges: list[tuple[int, int]]) -> Edges:
    return np.array([e[0] for e in edges], np.uint64), np.array([e[1] for e in edges], np.uint64)


def roots_of(edges: list[tuple[int, int]]) -> dict[int, int]:
    """The smallest value of each value's component, by repeating until nothing changes."""
    root = {value: value for edge in edges for value in edge}
    changed = True
    while changed:
        changed = False
        for left, right in edges:
            low = min(root[left], root[right])
            changed |= root[left] != low or root[right] != low
            root[left] = root[right] = low
    return root


def within(values: U64, limit: int) -> Near:
    return lambda which, of: distances(values[which], values[of]) <= limit


def stars_of(values: list[int], limit: int) -> list[int]:
    """The definition: the first value without a star becomes a centre and takes all that are near."""
    centres: dict[int, int] = {}
    for i, centre in enumerate(values):
        if i not in centres:
            for j, value in enumerate(values):
                if j not in centres and (value ^ centre).bit_count() <= limit:
                    centres[j] = i
    return [centres[i] for i in range(len(values))]


@given(EDGES)
def test_components_are_named_by_their_smallest_value(edges: list[tuple[int, int]]) -> None:
    """Every value of an edge gets the smallest value that a path leads to."""
    values, roots = components(*as_arrays(edges))
    assert dict(zip(values.tolist(), roots.tolist(), strict=True)) == roots_of(edges)


@given(st.lists(EDGES, max_size=4), st.integers(1, 20))
def test_a_forest_connects_what_the_edges_connect(chunks: list[list[tuple[int, int]]], most: int) -> None:
    """However the edges come in chunks and whenever they are thinned, each value has its root."""
    left, right = forest([as_arrays(chunk) for chunk in chunks], most)
    found = dict(zip(left.tolist(), right.tolist(), strict=True))
    expected = roots_of([edge for chunk in chunks for edge in chunk])
    assert found == {value: root for value, root in expected.items() if value != root}


@given(EDGES)
def test_large_and_small_stars_in_turns_end_in_components(edges: list[tuple[int, int]]) -> None:
    """They come to rest, and then each value is tied to its component's smallest and to nothing else."""
    pairs = sorted({(max(edge), min(edge)) for edge in edges})
    for _ in range(40):
        left, right = as_arrays(pairs)
        left, right = large_star(np.concatenate([left, right]), np.concatenate([right, left]))
        left, right = small_star(left, right)
        before, pairs = pairs, list(zip(left.tolist(), right.tolist(), strict=True))
        assert len(pairs) <= len(before)
        if pairs == before:
            break
    assert dict(pairs) == {value: root for value, root in roots_of(edges).items() if value != root}
    assert len(dict(pairs)) == len(pairs)


@given(
    st.lists(st.integers(0, 255), unique=True, max_size=40),
    st.integers(0, 3),
)
def test_stars_are_those_of_the_definition(numbers: list[int], limit: int) -> None:
    """Chains are cut where the definition cuts them, in the order given, and no member is too far."""
    values: U64 = np.array(numbers, np.uint64)
    one_group = np.zeros(len(values), np.uint64)
    centres = star_centres(one_group, within(values, limit))
    assert centres.tolist() == stars_of(numbers, limit)
    assert (np.bitwise_count(values ^ values[centres]) <= limit).all()


@given(st.lists(st.integers(0, 1023), unique=True, max_size=40), st.integers(0, 3))
def test_stars_are_the_same_component_by_component(numbers: list[int], limit: int) -> None:
    """Working on all components at once gives the stars of working on everything as one."""
    near = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1 :] if (a ^ b).bit_count() <= limit]
    roots = roots_of(near)
    values: U64 = np.array(numbers, np.uint64)
    groups = np.array([roots.get(value, value) for value in numbers], np.uint64)
    assert star_centres(groups, within(values, limit)).tolist() == stars_of(numbers, limit)


def test_a_chain_is_cut_into_stars() -> None:
    """Of hashes each one bit from the next, those beyond the limit from a centre begin stars of their own."""
    values: U64 = np.array([(1 << n) - 1 for n in range(8)], np.uint64)
    assert star_centres(np.zeros(8, np.uint64), within(values, 2)).tolist() == [0, 0, 0, 3, 3, 3, 6, 6]
