"""Text is cleaned, parted and read without end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from synth.seeds import generator
from synth.text import Reader, builtin, clean, passages, tokens


@given(st.text())
def test_tokens_lose_nothing_but_odd_spaces(text: str) -> None:
    """Joined again, the tokens of a cleaned text are that text."""
    assert "".join(tokens(clean(text))) == clean(text)


def test_han_is_parted_by_character_and_latin_by_word() -> None:
    """A line may end after any Han character, but not inside a Latin word."""
    assert tokens("第3章 two words，好") == ["第", "3", "章", " ", "two", " ", "words", "，", "好"]


def test_a_reader_never_ends_and_repeats_itself_exactly() -> None:
    """From one short passage any number of tokens comes, the same for the same generator."""
    first, second = (Reader(("one two",), generator(1, "read")) for _ in range(2))
    window = first.window(50)
    assert len(window) == 50
    second.skip(0)
    assert second.window(50) == window
    first.skip(10)
    assert first.window(40) == window[10:]


def test_figures_are_drawn_anew() -> None:
    """No slot of the built-in text reaches a page."""
    for language in ("en", "zh"):
        words = "".join(Reader(builtin(language), generator(2, "read")).window(3000))
        assert not set("{}") & set(words)
        assert any(char.isdigit() for char in words)


def test_text_without_a_word_is_refused() -> None:
    """Empty passages are left out, and none at all is an error."""
    assert passages(["\n\n  \n", "a\tb\n"]) == ("a b",)
    with pytest.raises(InputError, match="empty"):
        Reader((), generator(1, "read"))
