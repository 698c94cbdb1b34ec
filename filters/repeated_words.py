"""Captions that are a few words, or a few characters, again and again: sale sale sale, 哈哈哈哈."""

from typing import Final

import numpy as np
import pyarrow as pa

from filters.arrow import Bools, Rows, bytes_of, some

_WORDS: Final = 200
"""So many words, or characters of one word, are read: the more of a text, the more of its words come again."""
_SPACE: Final = np.isin(np.arange(0x100), [*range(9, 14), *range(28, 33)])
_BIT: Final = np.uint32(1) << (np.arange(0x100, dtype=np.uint32) & 31)
"""Of each first letter of a word; that of a capital is that of the small letter."""


def repeated(texts: pa.StringArray, times: int) -> Rows:
    """Returns the rows of the texts that `is_repeated` is true of."""
    rows = np.flatnonzero(_may_be(texts, times))
    found = [text is not None and is_repeated(text, times) for text in some(texts, rows).to_pylist()]
    return np.asarray(rows[np.array(found, bool)])


def is_repeated(text: str, times: int) -> bool:
    """Returns true where words stand so many times each on average, or 1 to 3 characters twice that."""
    words = text.lower().split(maxsplit=_WORDS)[:_WORDS]
    if len(words) == 1:
        few = set(text[:_WORDS])
        return len(few) <= 3 and len(text) >= 2 * times * len(few)
    return len(words) >= times and len(set(words)) * times <= len(words)


def _may_be(texts: pa.StringArray, times: int) -> Bools:
    """True of all texts that are repeated: a text of ASCII has at least as many different words as first letters."""
    data, starts = bytes_of(texts)
    found = np.zeros(len(texts), bool)
    filled = np.flatnonzero(np.diff(starts))
    if not len(filled):
        return found
    starts = starts[filled]
    space = _SPACE.take(data)
    begins = ~space
    begins[1:] &= space[:-1]
    begins[starts] = ~space[starts]
    words = np.add.reduceat(begins.view(np.uint8), starts, dtype=np.int64)
    different = np.zeros(len(starts), np.int64)
    spoken = np.flatnonzero(words)
    letters = _BIT.take(data.take(np.flatnonzero(begins)))
    if len(spoken):
        firsts = (np.cumsum(words) - words)[spoken]
        different[spoken] = np.bitwise_count(np.bitwise_or.reduceat(letters, firsts))
    wide = np.bitwise_or.reduceat(data, starts) >= 0x80
    few = (words >= times) & (different * times <= words)
    found[filled] = wide | (words == 1) | (words > _WORDS) | few
    return found
