"""The Levenshtein distance."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.edits import edits


def _slow(first: str, second: str) -> int:
    """Returns the distance by the textbook's table."""
    row = list(range(len(second) + 1))
    for at, char in enumerate(first, 1):
        last, row[0] = row[0], at
        for there, other in enumerate(second, 1):
            last, row[there] = row[there], min(row[there] + 1, row[there - 1] + 1, last + (char != other))
    return row[-1]


@given(st.text("abc", max_size=30), st.text("abc", max_size=30))
def test_the_bit_vectors_count_what_the_textbook_counts(first: str, second: str) -> None:
    """The bit vectors count what the textbook's table counts, in either direction."""
    assert edits(first, second) == edits(second, first) == _slow(first, second)
