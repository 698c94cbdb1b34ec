"""Texts as the words that metrics count."""

import re
from typing import Final

_WORD: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_]+(?:'[^\W_]+)?")
_ARTICLES: Final = frozenset({"a", "an", "the"})
_NUMBERS: Final = {
    name: str(number)
    for number, name in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}


def words(text: str) -> list[str]:
    """Lower-case words without punctuation; each Han character is a word."""
    return _WORD.findall(text.lower())


def answer(text: str) -> str:
    """An answer as it is compared: words without articles, numbers in digits."""
    return " ".join(_NUMBERS.get(word, word) for word in words(text) if word not in _ARTICLES)
