"""filters/short.py."""

import pytest

from filters.short import MIN_LETTERS, says_enough


@pytest.mark.parametrize(
    ("caption", "letters", "enough"),
    [
        ("고양이", {"Hangul": 3}, True), ("개", {"Hangul": 1}, False), ("ラーメン", {"Katakana": 3}, True),
        ("お茶", {"Hiragana": 1, "Han": 1}, True), ("犬と猫", {"Hiragana": 1, "Han": 2}, True),
        ("แมว", {"Thai": 3}, True), ("قطة", {"Arabic": 3}, True), ("शेर", {"Devanagari": 2}, True),
        ("富士山", {"Han": 3}, True), ("木耳", {"Han": 2}, True), ("碗 1", {"Han": 1}, True),
        ("T恤", {"Han": 1, "Latin": 1}, True), ("油", {"Han": 1}, False), ("这张", {"Han": 2}, False),
        ("一只", {"Han": 2}, False), ("图中", {"Han": 2}, False), ("左边", {"Han": 2}, False),
        ("画面", {"Han": 2}, False), ("格子", {"Han": 2}, False),
        ("cat", {"Latin": 3}, False), ("кот", {"Cyrillic": 3}, False), ("", {}, False),
    ],
)  # fmt: skip
def test_few_letters_are_enough_where_the_script_needs_few(
    caption: str, letters: dict[str, int], enough: bool
) -> None:
    """A word of the script, or a Chinese noun; not what only points or counts."""
    assert says_enough(caption, letters, None, MIN_LETTERS) == enough


def test_a_minimum_of_han_characters_stands_alone() -> None:
    """With `min_han` given, nouns get no other treatment."""
    assert not says_enough("木耳", {"Han": 2}, 3, MIN_LETTERS)
    assert says_enough("这张", {"Han": 2}, 2, MIN_LETTERS)
