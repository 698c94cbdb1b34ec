"""Cells and stars of embeddings, against definitions applied one by one."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import semantic
from filters.semantic import ONE, cells, cosines, fewer, means, stars, units


def families(count: int, size: int, spread: float, seed: int = 0) -> npt.NDArray[np.float16]:
    """Vectors of 32 numbers around `count` directions, in a drawn order."""
    rng = np.random.default_rng(seed)
    around = np.repeat(rng.normal(size=(count, 32)), size, axis=0)
    return rng.permutation(around + spread * rng.normal(size=around.shape)).astype(np.float16)


def circle(angles: list[int]) -> npt.NDArray[np.int16]:
    """Vectors of two numbers at these angles, in tenths of a radian."""
    turn = np.array(angles) / 10
    return units(np.stack([np.cos(turn), np.sin(turn)], axis=1))


def test_units_have_one_length_and_their_direction() -> None:
    """To the digits of float16; what has no direction is refused."""
    vectors = families(20, 5, 1.0)
    found = units(vectors)
    assert np.abs(np.linalg.norm(found.astype(float), axis=1) - ONE).max() < 4
    wide = vectors.astype(float)
    expected = wide @ wide.T / np.linalg.norm(wide, axis=1)[:, None] / np.linalg.norm(wide, axis=1)
    assert np.abs(cosines(found, found) - expected).max() < 2e-3
    for bad in ([0.0] * 4, [np.nan, 1, 1, 1], [np.inf, 1, 1, 1]):
        with pytest.raises(ValueError, match="vector"):
            units(np.array([bad], np.float32))


def test_cells_hold_families_together() -> None:
    """Where families are smaller than cells, 9 of 10 like vectors share one; a vector's cell depends on it alone."""
    vectors = units(families(120, 20, 0.05))
    centres = means(vectors, 12)
    assert len(centres) == 12
    cell = cells(vectors, centres)
    assert np.array_equal(cell[::7], cells(vectors[::7], centres))
    near = cosines(vectors, vectors) > 0.9
    assert (cell[:, None] == cell)[near].mean() > 0.9
    assert (cell[:, None] == cell)[~near].mean() < 0.25


def test_fewer_vectors_than_cells() -> None:
    """There are as many centres as vectors that differ."""
    vectors = units(np.array([[1, 0], [0, 1], [1, 0]], np.float16))
    assert len(means(vectors, 9)) == 2


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.sampled_from([0.5, 0.9, 0.99]))
def test_stars_are_greedy_in_order(angles: list[int], similarity: float) -> None:
    """The first that is in no star takes all similar ones behind it that are in none."""
    vectors = circle(angles)
    near = cosines(vectors, vectors) >= similarity
    expected = [-1] * len(angles)
    for at in range(len(angles)):
        if expected[at] < 0:
            expected[at] = at
            for other in range(at + 1, len(angles)):
                if expected[other] < 0 and near[at, other]:
                    expected[other] = at
    assert stars(vectors, similarity).tolist() == expected


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.integers(-1, 45))
def test_a_share_of_the_vectors_stays(angles: list[int], stays: int) -> None:
    """As many as are asked for, one at least; who goes was more like one before it than any who stays."""
    vectors = circle(angles)
    found = fewer(vectors, stays)
    left = found == np.arange(len(angles))
    assert left.sum() == min(len(angles), max(1, stays))
    assert left[0]
    assert left[found].all()
    near = np.where(np.tri(len(angles), k=-1, dtype=bool), cosines(vectors, vectors), -2.0).max(axis=1)
    assert near[left].max() <= near[~left].min(initial=2.0)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few vectors compared at a time give the same stars and the same that stay."""
    vectors = units(families(40, 5, 0.2))
    whole = stars(vectors, 0.9), fewer(vectors, 60)
    monkeypatch.setattr(semantic, "MOST_COSINES", 3 * len(vectors))
    monkeypatch.setattr(semantic, "WIDE", 7)
    assert np.array_equal(stars(vectors, 0.9), whole[0])
    assert np.array_equal(fewer(vectors, 60), whole[1])


def test_a_hundred_thousand_equal_vectors() -> None:
    """One star: what belongs to it is compared once."""
    assert not stars(units(np.ones((100_000, 8), np.float16)), 0.95).any()
