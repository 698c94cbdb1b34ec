"""filters/patterns.py."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.arrow import matching
from filters.caption import _CLOSING, _OPENING
from filters.marks import Marks, NeededMarks
from filters.patterns import FRAGMENTS, NEEDED, NEEDED_MARKS, PATTERNS
from filters.scripts import every_character

PIECES = (
    ".jpg", ".DOC", "a", "B", "ß", "ſ", "ι", "猫", "カ", "가", "ไ", " ", "\n", "\t", "/", "\\", "C:\\", "~",
    "./", "../", ".com", "x.cn", ".co.uk", "example", "a-b.", ":80", "/q?r=1", "@", "-", "–", "_", "|",
    "·", ":", "：", "(", ")", "（", "）", "【", "】", "\"", "“", "”", "。", ".", ",", "!", "…", "1", "7",
    "12", "2019", "20190314", "12345678901", "-05-", "/05/", "5:30", "h30", "年", "月", "3月", "日", "st ",
    "rd ", "May", "september", "Jan. ", "Mon, ", "Tuesday", " at ", "T", "pm", "Z", "IMG_", "DSC",
    "微信图片", "deadbeef", "0f", "x", "×", " 1920x1080", "px", "像素", "é", "Ж", "α", "ي", "अ", "☃",
)  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join), min_size=20))
def test_what_an_expression_needs_is_found_wherever_it_is(texts: list[str]) -> None:
    """A search of the rows that hold what is needed finds what a search of all rows finds."""
    rows = pa.array(texts, pa.string())
    for expression in {**NEEDED, **NEEDED_MARKS}:
        whole = _OPENING + expression + _CLOSING if expression in PATTERNS.values() else expression
        signed = Marks(rows).rows(NEEDED_MARKS.get(expression, NeededMarks()))
        found = matching(rows, whole, NEEDED.get(expression), signed)
        assert found.tolist() == matching(rows, whole).tolist()


def test_the_quick_test_for_symbols_passes_every_character_that_is_no_letter() -> None:
    """Each alone in a caption."""
    symbols = PATTERNS["symbols"]
    rows = pa.array(list(every_character()))
    found = matching(rows, f"^{symbols}$")
    assert len(found) > 100_000
    assert matching(rows, f"^{symbols}$", NEEDED[symbols]).tolist() == found.tolist()


@pytest.mark.parametrize("caption", ["IMG_0001.jpg", "C:\\a", "a.com", "2019-05-01", "deadbeef" * 2, "***"])
def test_a_null_and_a_row_beside_it_change_nothing(caption: str) -> None:
    """Row numbers are those of the whole batch."""
    rows = pa.array(["A dog.", None, caption])
    hits = {
        name: matching(rows, f"^(?:{one})$", NEEDED.get(one), Marks(rows).rows(NEEDED_MARKS[one])).tolist()
        for name, one in PATTERNS.items()
        if one in NEEDED_MARKS
    }
    assert [2] in hits.values()
    assert all(rows in ([], [2]) for rows in hits.values())


def test_only_expressions_of_the_defaults_have_a_quick_test() -> None:
    """A recipe's own expression under the same name is searched for as it is."""
    assert {*NEEDED, *NEEDED_MARKS} <= {*PATTERNS.values(), *FRAGMENTS.values()}
