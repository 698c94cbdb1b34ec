"""The cleaned caption, and what is measured about it: lengths, irregular pattern, special tag, emoji.

Cleaning edits what is wrong inside a good caption (filters/repair.py, white space, the recipe's
`fragments`) and leaves every other byte alone. A caption that is nothing but an irregular pattern
stays as it is, so that a person sees what the rule `pattern` dropped.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import regex  # type: ignore[import-untyped]

from filters.arrow import Column, Rows, array, bools, pc, some
from filters.repair import SUSPICIOUS, mend
from filters.scripts import SCRIPTS, code_points, every_character, script_table
from schemas.signals import CaptionSettings

PASSES: Final = 64
"""Cleaning repeats until nothing changes, as one step uncovers work for another (`&amp;lt;b&amp;gt;`);
each pass shortens the text, so real captions take two or three and only hostile ones get this far."""

REPEATED: Final = "repeated_words"

_SPACES: Final = (
    r"\t-\r\x{1c}-\x{1f}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
)

# a flag, a keycap, or a pictograph shown as a picture with its skin tones, tags and joined others
_PICTURE: Final = (
    r"(?:(?!\p{Regional_Indicator})\p{Emoji_Presentation}(?!\ufe0e)\ufe0f?|\p{Extended_Pictographic}(?:\ufe0f|(?=\p{Emoji_Modifier})))"
    r"\p{Emoji_Modifier}?[\U000e0020-\U000e007f]*"
)
_EMOJI: Final = regex.compile(
    rf"\p{{Regional_Indicator}}{{2}}|[0-9#*]\ufe0f?\u20e3|{_PICTURE}(?:\u200d(?:{_PICTURE}|\p{{Extended_Pictographic}}\ufe0f?))*"
)
_MAYBE_EMOJI: Final = r"[\x{20e3}\x{fe0f}\x{231a}-\x{2bff}\x{1f000}-\x{1faff}]"

_OPENING: Final = r"^[\"'“”‘’(\[{<【（]*(?:"
_CLOSING: Final = r")[\"'“”‘’)\]}>】）.,;!。]*$"
_NO_WORD, _WORD, _HAN, _APOSTROPHE = range(4)


class Captions:
    """Cleans raw captions and measures them."""

    VERSION = 1
    LIBRARIES = ("ftfy", "pyarrow", "regex")

    def __init__(self, settings: CaptionSettings) -> None:
        self._patterns = {
            name: _OPENING + expression + _CLOSING
            for name, expression in settings.patterns.items()
            if expression
        }
        self._fragments = [expression for expression in settings.fragments.values() if expression]
        self._repeated = settings.repeated_words
        self._spaces = rf" {{{settings.max_spaces + 1},}}| *[{_SPACES}][ {_SPACES}]*"
        tags = "|".join(regex.escape(tag) for tag in sorted(settings.special_tags, key=len, reverse=True))
        self._tag = regex.compile(tags, regex.IGNORECASE) if tags else None
        self._tag_starts = (
            "[" + regex.escape("".join(sorted({tag[0] for tag in settings.special_tags if tag}))) + "]"
        )

    def measure(self, captions: pa.StringArray) -> dict[str, Column]:
        """The columns of SIGNALS that start from the raw caption; all of them null where it is.

        `special_tag` and `emoji` look at the raw caption, and at the cleaned one for what entities or
        a broken encoding hid.
        """
        clean = self.clean(captions)
        words, han = _words(clean)
        emoji, emoji_clean = _emoji(captions), _emoji(clean)
        tag, tag_clean = self._special_tag(captions), self._special_tag(clean)
        return {
            "caption": clean,
            "caption_chars": pc.utf8_length(clean),
            "caption_words": words,
            "caption_han": han,
            "pattern": self._pattern(clean),
            "special_tag": pc.coalesce(tag, tag_clean),
            "emoji": pc.max_element_wise(emoji, emoji_clean),
        }

    def clean(self, captions: pa.StringArray) -> pa.StringArray:
        """The captions cleaned; cleaning what is clean changes nothing."""
        done = captions
        rows: Rows = np.arange(len(captions))
        for _ in range(PASSES):
            before = some(done, rows) if len(rows) < len(done) else done
            after = self._pass(before)
            changed = bools(pc.not_equal(before, after))
            rows = rows[changed]
            if not len(rows):
                break
            done = _put(done, rows, after.filter(array(changed)))
        return done

    def _pass(self, texts: pa.StringArray) -> pa.StringArray:
        texts = _on_matching(texts, SUSPICIOUS, mend)
        texts = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, self._spaces, " "))
        return self._without_fragments(texts)

    def _without_fragments(self, texts: pa.StringArray) -> pa.StringArray:
        for expression in self._fragments:
            rows = _matching(texts, expression)
            if not len(rows):
                continue
            found = some(texts, rows)
            whole = pc.is_valid(self._pattern(found))
            removed = pc.replace_substring_regex(found, f"(?i){expression}", "\n")
            texts = _put(texts, rows, pc.if_else(whole, found, removed))
        return texts

    def _pattern(self, clean: pa.StringArray) -> Any:
        """The name of the first pattern that a caption is as a whole, else null."""
        found: Any = pa.nulls(len(clean), pa.string())
        for name, expression in reversed(self._patterns.items()):
            hit = pc.match_substring_regex(clean, expression, ignore_case=True)
            if pc.any(hit).as_py():
                found = pc.if_else(pc.fill_null(hit, False), name, found)
        if self._repeated:
            repeated = [text is not None and self._is_repeated(text) for text in clean.to_pylist()]
            found = pc.if_else(pc.and_(array(repeated, pa.bool_()), pc.is_null(found)), REPEATED, found)
        return found

    def _is_repeated(self, text: str) -> bool:
        """True where words stand `repeated_words` times each or more, or 1 to 3 characters twice that."""
        # the more of a text is read, the more of its words come again: 200 words tell
        words = text.split(maxsplit=200)[:200]
        if len(words) == 1:
            few = set(text[:200])
            return len(few) <= 3 and len(text) >= 2 * self._repeated * len(few)
        return len(words) >= self._repeated and len({word.lower() for word in words}) * self._repeated <= len(
            words
        )

    def _special_tag(self, texts: pa.StringArray) -> Any:
        if self._tag is None:
            return pa.nulls(len(texts), pa.string())
        rows = _matching(texts, self._tag_starts)
        tags = [
            match[0] if (match := self._tag.search(text)) else None for text in some(texts, rows).to_pylist()
        ]
        return _put(pa.nulls(len(texts), pa.string()), rows, array(tags, pa.string()))


def _matching(texts: pa.StringArray, expression: str) -> Rows:
    """The rows in which an RE2 expression is found, whatever the case."""
    return np.flatnonzero(bools(pc.match_substring_regex(texts, expression, ignore_case=True)))


def _put(texts: pa.StringArray, rows: Rows, values: pa.StringArray) -> Any:
    """`texts` with `values` in place of `rows` (ascending)."""
    mask = np.zeros(len(texts), bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, array(mask), values) if len(rows) else texts


def _on_matching(texts: pa.StringArray, expression: str, change: Callable[[str], str]) -> Any:
    """`texts` with `change` done to those in which the expression is found."""
    rows = _matching(texts, expression)
    changed = [change(text) for text in some(texts, rows).to_pylist()]
    return _put(texts, rows, array(changed, pa.string()))


@cache
def _word_table() -> npt.NDArray[np.uint8]:
    """A table from code point to what it is to a word: a part, a Han character, an apostrophe, no part."""
    parts = "".join(regex.findall(r"[\p{L}\p{M}\p{N}]+", every_character()))
    table = np.zeros(0x110000, np.uint8)
    table[np.frombuffer(parts.encode("utf-32-le"), np.uint32)] = _WORD
    table[script_table() == SCRIPTS.index("Han")] = _HAN
    table[[ord("'"), ord("’"), 0x200C, 0x200D]] = _APOSTROPHE
    return table


def _words(texts: pa.StringArray) -> tuple[Any, Any]:
    """Words and Han characters of each text: each Han character is a word, as is each run of other letters,
    marks and digits (apostrophes inside it included)."""
    points, rows = code_points(texts)
    kind = _word_table()[points]
    inner = (kind[1:-1] == _APOSTROPHE) & (kind[:-2] == _WORD) & (kind[2:] == _WORD)
    kind[1:-1][inner] = _WORD
    start = kind == _WORD
    start[1:] &= kind[:-1] != _WORD
    han = kind == _HAN
    missing = bools(texts.is_null())
    words = np.bincount(rows[start | han], minlength=len(texts))
    characters = np.bincount(rows[han], minlength=len(texts))
    return array(words, pa.int32(), missing), array(characters, pa.int32(), missing)


def _emoji(texts: pa.StringArray) -> Any:
    """The number of emoji sequences in each text; null where it is."""
    rows = _matching(texts, _MAYBE_EMOJI)
    counts = np.zeros(len(texts), np.int32)
    counts[rows] = [sum(1 for _ in _EMOJI.finditer(text)) for text in some(texts, rows).to_pylist()]
    return array(counts, pa.int32(), bools(texts.is_null()))
