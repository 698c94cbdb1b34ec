"""Captions that repeat themselves, or hold hardly a letter."""

import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.repetition import repetition, special_share
from filters.rules import detail, failures
from filters.table import RuleSettings
from tests.filters.test_rules import failed, table

ON = {"repetition": True, "special_characters": True}


@pytest.mark.parametrize(
    "caption",
    [
        "buy now buy now buy now buy now buy now",
        "ha" * 40,
        "好吃" * 20,
        "買って買って買って買って買って買って",
        "ซื้อเลย" * 12,
        "a" * 1_000_000,
        "\u0301" * 1_000,
    ],
)
def test_a_caption_that_says_one_thing_again_and_again_fails(caption: str) -> None:
    """In words, in letters, in characters of scripts without spaces."""
    assert "repetition" in failed({"caption": caption}, {"repetition": True})


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "A dog",
        "A man and a woman sit on a bench in a park, and a dog sits beside the bench",
        "New York, New York",
        "一个男人和一个女人坐在公园的长椅上，旁边坐着一只狗",
        "很好很好的红烧肉",
        "ประเทศไทยเป็นประเทศที่สวยงาม",
    ],
)
def test_a_sentence_that_uses_a_word_twice_passes(caption: str) -> None:
    """As sentences do."""
    assert "repetition" not in failed({"caption": caption}, {"repetition": True})


@given(st.text(max_size=60))
def test_the_shares_are_those_of_a_plain_count(text: str) -> None:
    """Between nothing and one; a text said a hundred times is almost all repetition."""
    assert all(0 <= share <= 1 for share in repetition(text))
    if len(text.split()) > 3:
        assert repetition(f"{text} " * 100)[1] > 0.9


@pytest.mark.parametrize(
    ("caption", "share"),
    [
        ("★★★ sale", 3 / 7),
        ("a-b", 1 / 3),
        ("", 0.0),
        ("   ", 0.0),
        ("12 ３ é е́ แม่ 猫", 0.0),
        ("!" * 1_000_000, 1.0),
    ],
)
def test_special_characters_are_no_letters_marks_digits_or_spaces(caption: str, share: float) -> None:
    """Of any script."""
    assert special_share(pa.array([caption]))[0].as_py() == pytest.approx(share)


def test_what_is_said_names_the_shares() -> None:
    """In `detail`, as for all rules."""
    rules = RuleSettings.model_validate(ON)
    signals = table({"caption": "la la la la la la la la la"}, {"caption": "*** !!! wow"}, {"caption": None})
    names = failures(signals, rules, ("en",))
    said = detail(signals, names, rules).to_pylist()
    assert said[0].startswith("repeated characters 0.")
    assert said[1] == "special characters 0.67 > 0.25"
    assert names.to_pylist()[2] == ["no_caption"]


def test_a_megabyte_is_judged_in_a_moment() -> None:
    """Only the beginning of a text is read for repetition."""
    begun = time.process_time()
    for caption in ("x" * 1_000_000, "x y " * 250_000, "中" * 1_000_000):
        failed({"caption": caption}, ON)
    assert time.process_time() - begun < 5


def test_rules_that_are_off_do_not_run() -> None:
    """No recipe of before drops more."""
    assert failed({"caption": "buy now " * 50}) == []
