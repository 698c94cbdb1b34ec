"""filters/marks.py."""

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.marks import CONTROL, DIGIT, HEX, LETTER, WIDE, Marks, NeededMarks

KINDS = {
    CONTROL: r"[\x00-\x1f\x7f]", DIGIT: r"[0-9]", HEX: r"[0-9a-fA-F]", LETTER: r"[A-Za-z]", WIDE: r"[^\x00-\x7f]",
    ".": r"\.", ":.": r"[:.]", "/\\": r"[/\\]", "<[": r"[<\[]", " ": " ", "&": "&", "%": "%", "@": "@",
}  # fmt: skip
TEXTS = st.lists(st.none() | st.text("0123aFz .:/\\<[&%@\x00\x1f\x7f#é中🐶", max_size=8), max_size=6)


def _rows(texts: list[str | None], needed: NeededMarks) -> list[int]:
    """The rows that are not null."""
    return [row for row in Marks(pa.array(texts, pa.string())).rows(needed) if texts[row] is not None]


@given(TEXTS, st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(KINDS)))
def test_texts_hold_and_lack_what_a_search_of_each_finds(
    texts: list[str | None], one: str, other: str
) -> None:
    """Of two kinds that are needed, both; of one that is none, no character."""
    both = [
        row
        for row, text in enumerate(texts)
        if text and re.search(KINDS[one], text) and re.search(KINDS[other], text)
    ]
    assert _rows(texts, NeededMarks((one, other))) == both
    without = [row for row, text in enumerate(texts) if text is not None and not re.search(KINDS[one], text)]
    assert _rows(texts, NeededMarks(lacks=one)) == without


@given(TEXTS, st.sampled_from(sorted(KINDS)), st.integers(1, 5))
def test_no_text_with_a_run_is_left_out(texts: list[str | None], kind: str, times: int) -> None:
    """And no other is taken but one that ends in a shorter run."""
    found = _rows(texts, NeededMarks(run=kind, times=times))
    # a character above ASCII is several marks
    runs = [row for row, text in enumerate(texts) if text and re.search(f"{KINDS[kind]}{{{times}}}", text)]
    ends = [row for row, text in enumerate(texts) if text and re.search(f"{KINDS[kind]}$", text)]
    assert set(runs) <= set(found)
    if kind != WIDE:
        assert set(found) <= {*runs, *ends}


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_slice_of_a_batch_is_a_batch(first: int) -> None:
    """Rows are those of the slice."""
    texts = pa.array(["1.", None, "a", "22", "b.", ""])
    assert [row + first for row in Marks(texts.slice(first)).rows(NeededMarks((DIGIT,)))] == [
        row for row in (0, 3) if row >= first
    ]
    assert Marks(texts.slice(6)).rows(NeededMarks((DIGIT,), DIGIT, 2)).tolist() == []
