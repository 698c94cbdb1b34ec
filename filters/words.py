"""English words: how much of a caption they are.

The list (filters/english.txt.gz, made by tools/english_words.py) is SCOWL's by way of Debian's wamerican: permissive,
see NOTICE. It knows brands and dishes as little as the language model does; it says what plain words are English.
"""

import gzip
from functools import cache
from pathlib import Path
from typing import Final

import regex  # type: ignore[import-untyped]

LIST: Final = Path(__file__).with_name("english.txt.gz")

_FOREIGN: Final = {
    "al", "au", "aux", "avec", "che", "ci", "come", "como", "con", "da", "das", "de", "degli", "dei", "del",
    "della", "dem", "den", "der", "des", "di", "dos", "du", "ed", "eine", "el", "em", "en", "es", "et",
    "fur", "gli", "het", "hun", "ich", "il", "im", "ist", "je", "ka", "la", "las", "le", "les", "lo", "los",
    "mas", "mes", "mi", "mit", "na", "naar", "nach", "nel", "nos", "os", "ou", "par", "para", "pas", "per",
    "por", "pour", "que", "qui", "roku", "sa", "sans", "se", "sein", "ses", "si", "sich", "sin", "su",
    "sul", "sur", "te", "tu", "ud", "un", "una", "und", "une", "uno", "van", "vi", "voor", "von", "wie",
    "y", "zu", "zum", "zur",
}  # fmt: skip
"""Words that other languages cannot do without, many of them English abbreviations or loans as well."""

_WORD: Final = regex.compile(r"[\p{L}\p{M}]+")
_UNIT: Final = regex.compile(r"[a-z]{0,2}[µ\p{Greek}]{1,2}[a-z]{0,2}")
_GREEK: Final = regex.compile(r"[µ\p{Greek}]")
_POSSESSIVE: Final = regex.compile(r"['’]s\b")


@cache
def english() -> frozenset[str]:
    """Returns the English words, in lower case."""
    return frozenset(gzip.decompress(LIST.read_bytes()).decode().split("\n"))


def english_share(text: str) -> float:
    """Returns the share of the letters that stand in English words; 0 where a word is one of another language's
    frequent ones, or is not English and has a letter with an accent. Single letters and Greek signs (μm, kΩ, π) do not
    count."""
    text = _POSSESSIVE.sub("", text)
    words = [word.lower() for word in _WORD.findall(text)]
    known = english()
    if not text.isascii():
        if _GREEK.search(text):
            words = [word for word in words if not _UNIT.fullmatch(word)]
        if not all(word.isascii() or word in known for word in words):
            return 0.0
    if not _FOREIGN.isdisjoint(words):
        return 0.0
    letters = sum([len(word) for word in words if len(word) > 1])
    return sum([len(word) for word in words if len(word) > 1 and word in known]) / letters if letters else 0.0
