"""Captions that say one thing again and again, or hardly anything in letters: two rules over the cleaned caption.

Both are off by default, and are computed where they are judged, so that a recipe without them measures nothing. How
much each takes is in docs/filters.md.
"""

from collections.abc import Sequence
from typing import Any, Final

import regex  # type: ignore[import-untyped]
from pydantic import Field

from filters.arrow import array, bools, pc
from filters.filter import Columns, Row, Rule
from schemas.settings import Settings

_LONGEST: Final = 2000
"""So many characters of a caption are read: what repeats there repeats throughout."""
_WORDS: Final = 3
_LETTERS: Final = 10
_HEAVY_LETTERS: Final = 4
"""Characters of one n-gram in a script without spaces, where a character says as much as a syllable or a word."""
_UNSPACED: Final = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
)
_SPACES: Final = regex.compile(r"\s+")


class Repetition(Settings):
    """Drops captions that repeat themselves, by n-grams of characters or of words (filters/repetition.py)."""

    characters: float = Field(
        0.4,
        ge=0,
        le=1,
        description="share of the runs of 10 characters (4 in scripts without spaces) that may come again",
    )
    words: float = Field(0.4, ge=0, le=1, description="share of the runs of 3 words that may come again")


class SpecialCharacters(Settings):
    """Drops captions with many characters that are no letters, marks, digits or spaces."""

    max: float = Field(0.25, ge=0, le=1, description="share of the characters, spaces not counted")


def repetition(caption: str) -> tuple[float, float]:
    """Returns the shares of a caption's runs of characters and of words that stand there earlier, 0 to 1."""
    text = _SPACES.sub(" ", caption[:_LONGEST]).strip().lower()
    size = _HEAVY_LETTERS if 2 * len(_UNSPACED.findall(text)) > len(text) else _LETTERS
    return _again([text[at : at + size] for at in range(len(text) - size + 1)]), _again(_runs(text.split()))


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + _WORDS]) for at in range(len(words) - _WORDS + 1)]


def _again(grams: Sequence[object]) -> float:
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _repeats(columns: Columns, settings: Repetition, languages: Sequence[str]) -> Any:
    return array(
        [caption is not None and _too_much(caption, settings) for caption in columns["caption"].to_pylist()]
    )


def _too_much(caption: str, settings: Repetition) -> bool:
    characters, words = repetition(caption)
    return characters > settings.characters or words > settings.words


def _say_repetition(row: Row, settings: Repetition) -> str:
    characters, words = repetition(row["caption"])
    return f"repeated characters {characters:.2f}, words {words:.2f}"


def special_share(captions: Any) -> Any:
    """Returns the share of each caption's characters that are no letters, marks, digits or spaces; null stays null."""
    whole = pc.cast(pc.count_substring_regex(captions, r"[^\s\p{Z}]"), "float64")
    special = pc.cast(pc.count_substring_regex(captions, r"[^\s\p{Z}\p{L}\p{M}\p{N}]"), "float64")
    return pc.if_else(pc.greater(whole, 0), pc.divide(special, whole), 0.0)


def _special(columns: Columns, settings: SpecialCharacters, languages: Sequence[str]) -> Any:
    return array(bools(pc.greater(special_share(columns["caption"]), settings.max)))


def _say_special(row: Row, settings: SpecialCharacters) -> str:
    share = special_share(array([row["caption"]]))[0].as_py()
    return f"special characters {share:.2f} > {settings.max:g}"


RULES: Final = (
    Rule("repetition", Repetition, ("caption",), _repeats, _say_repetition, on=False, about="caption"),
    Rule(
        "special_characters",
        SpecialCharacters,
        ("caption",),
        _special,
        _say_special,
        on=False,
        about="caption",
    ),
)
