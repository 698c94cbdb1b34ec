"""MinHash and the Jaccard index, against sets of n-grams."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.minhash import (
    GRAM,
    LONGEST,
    UNSPACED_GRAM,
    bands,
    jaccard,
    normalised,
    pairs_in_runs,
    rows_in_band,
)
from pipelines.phases.dedup.tables import runs


def jaccard_of_sets(one: str, other: str) -> float:
    """The index by definition; both texts are of one kind of script."""

    def grams(text: str) -> set[str]:
        size = UNSPACED_GRAM if text[0] >= "一" else GRAM
        return {text[at : at + size] for at in range(max(1, len(text) - size + 1))}

    return len(grams(one) & grams(other)) / len(grams(one) | grams(other))


def plain(*captions: str | None) -> list[str | None]:
    found: list[str | None] = normalised(pa.array(captions, pa.string())).to_pylist()
    return found


def test_captions_are_compared_by_their_words() -> None:
    """Case, width, ligatures, punctuation and spaces make no difference; signs alone are compared as they stand."""
    assert plain("  Hello, WORLD!! ", "\ufb01ne\u3000\uff23af\u00e9!") == ["hello world", "fine caf\u00e9"]
    assert plain("高清，图片。", "cafe\u0301") == ["高清 图片", "caf\u00e9"]
    assert plain("!!!", " ❤ ", "", "   ", None) == ["!!!", "❤", None, None, None]
    assert plain("photo 1") != plain("photo 2")


@pytest.mark.parametrize(
    "caption",
    ["x" * 1_000_000, "\u0301\u0327" * 500_000, "word " * 200_000, "字" * 1_000_000, "\u200b" * 1_000_000],
    ids=["letter", "marks", "word", "Han", "zero width"],
)
def test_a_hostile_caption_is_one_caption(caption: str) -> None:
    """A megabyte of one character, of combining marks alone: cut, hashed, and equal to itself."""
    (text,) = plain(caption)
    assert text is not None
    assert 0 < len(text) <= 2 * LONGEST
    found = bands([text, text], 0.8)
    assert (found[0] == found[1]).all()
    assert jaccard([text], [text]).tolist() == [1.0]


@given(
    st.lists(
        st.tuples(st.text("abcd ", min_size=1, max_size=30), st.text("abcd ", min_size=1, max_size=30))
        | st.tuples(st.text("中文字一", min_size=1, max_size=9), st.text("中文字一", min_size=1, max_size=9)),
        min_size=1,
        max_size=8,
    )
)
def test_the_jaccard_index_is_that_of_sets(pairs: list[tuple[str, str]]) -> None:
    """Of texts shorter than an n-gram too, and whatever texts stand beside them."""
    found = jaccard([one for one, _ in pairs], [other for _, other in pairs])
    assert found.tolist() == pytest.approx([jaccard_of_sets(*pair) for pair in pairs])


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_similar_texts_share_a_band(similarity: float) -> None:
    """98 of 100 pairs at or just above the threshold do; of pairs far below it few."""
    rng = random.Random(4)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(3000)]
    texts = [" ".join(rng.choices(words, k=10)) for _ in range(2500)]
    changed = [_changed(text, rng) for text in texts]
    index = jaccard(texts, changed)
    share = (bands(texts, similarity) == bands(changed, similarity)).any(axis=1)
    near = (index >= similarity) & (index < similarity + 0.1)
    assert near.sum() > 50
    assert share[near].mean() >= 0.98
    assert share[index < similarity / 2].mean() < 0.4


def _changed(text: str, rng: random.Random) -> str:
    letters = list(text)
    for _ in range(rng.choice([0, 1, 1, 2, 3, 4, 6, 12, 25])):
        letters[rng.randrange(len(letters))] = rng.choice("uvwxyz")
    return "".join(letters)


def test_bands_do_not_depend_on_the_texts_beside() -> None:
    """A text's numbers are the same alone, and known: another version of numpy must give them too."""
    texts = ["a red car on a wet street", "红色汽车停在路边", "x"]
    whole = bands(texts, 0.8)
    assert all((bands([text], 0.8)[0] == row).all() for text, row in zip(texts, whole, strict=True))
    assert f"{np.bitwise_xor.reduce(whole.ravel()):016x}" == "5c9bcbeefc697178"


def test_the_rows_of_a_band_grow_with_the_threshold() -> None:
    """So few share a band by chance, and those similar do."""
    assert [rows_in_band(similarity) for similarity in (0.5, 0.6, 0.7, 0.8, 0.9)] == [2, 3, 4, 7, 8]


@given(st.lists(st.integers(0, 3), max_size=30).map(sorted), st.integers(1, 5))
def test_pairs_in_runs(values: list[int], reach: int) -> None:
    """All pairs of a short run; in a long one each with its neighbours and the first."""
    found = sorted(
        (int(a), int(b))
        for one, other in pairs_in_runs(runs(np.array(values, np.uint64)), reach)
        for a, b in zip(one, other, strict=True)
    )
    first = {value: values.index(value) for value in values}
    assert found == [
        (a, b)
        for a in range(len(values))
        for b in range(a)
        if values[a] == values[b] and (a - b <= reach or b == first[values[b]])
    ]
