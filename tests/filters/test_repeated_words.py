"""filters/repeated_words.py."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.repeated_words import is_repeated, repeated

WORDS = st.sampled_from(
    ["sale", "Sale", "Kg", "Kg", "dog", "123", "!", "哈哈", " ", "\x1c", "\t", "a b", "ha" * 30]
)


@given(
    st.text(st.sampled_from("aAbB ΣςσİßI\t\u3000."), max_size=30) | st.text(max_size=30), st.integers(1, 4)
)
def test_words_are_compared_one_by_one(text: str, times: int) -> None:
    """Words that differ in case alone count as one, as where each is made lower by itself."""
    words = text.split()
    expected = len(words) >= times and len({word.lower() for word in words}) * times <= len(words)
    if len(words) > 1:
        assert is_repeated(text, times) == expected


@settings(max_examples=300)
@given(
    st.lists(st.none() | st.lists(WORDS, max_size=9).map(" ".join) | st.text(max_size=12), max_size=6),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_a_batch_has_the_rows_that_text_by_text_has(texts: list[str | None], times: int, first: int) -> None:
    """Whatever stands beside a text, also in a slice of a larger batch."""
    batch = pa.array(texts, pa.string()).slice(first)
    expected = [
        row for row, text in enumerate(texts[first:]) if text is not None and is_repeated(text, times)
    ]
    assert repeated(batch, times).tolist() == expected


@pytest.mark.parametrize("words", [134, 135, 201, 1000])
def test_the_first_words_of_a_long_text_decide(words: int) -> None:
    """What follows 200 words is not read: of these, a word that is new each time may be 65."""
    text = "sale " * words + " ".join(f"{number}th" for number in range(1000))
    assert repeated(pa.array([text]), 3).tolist() == ([0] if 1 + 200 - words <= 66 else [])
