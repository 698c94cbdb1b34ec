"""Which marks stand in each text of a batch, from one pass over its bytes.

Most expressions find nothing in most texts, and each that RE2 looks for is a pass of its own over the batch. Nearly all
need some mark (a digit, a full stop, a character above ASCII); texts without it are not searched.
"""

from string import ascii_letters, digits, hexdigits
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.arrow import Bools, Rows, bytes_of

CONTROL: Final = "\0"
"""Stands for all control characters of ASCII."""
DIGIT: Final = "0"
"""Stands for the digits of decimal numbers."""
HEX: Final = "0a"
"""Stands for the digits of hexadecimal numbers."""
LETTER: Final = "az"
"""Stands for the letters of ASCII: one that is a digit of hexadecimal numbers, and one that is not."""
WIDE: Final = "\x80"
"""Stands for all characters above ASCII."""

_KINDS: Final = (
    "".join(map(chr, range(0x20))) + "\x7f",
    digits,
    "".join(set(hexdigits) - set(digits)),
    "".join(set(ascii_letters) - set(hexdigits)),
    "".join(map(chr, range(0x80, 0x100))),
    *" <[&%\\/:.@",
)
"""Bytes that are one kind of mark; the others are one more."""


def _table() -> npt.NDArray[np.uint16]:
    table = np.ones(0x100, np.uint16)
    for number, kind in enumerate(_KINDS, 1):
        table[[ord(one) for one in kind]] = 1 << number
    return table


_TABLE: Final = _table()


class NeededMarks(NamedTuple):
    """What a text has wherever a certain expression is found in it."""

    holds: tuple[str, ...] = ()
    """Of each of these, one character or another of its kind."""
    run: str = ""
    """Characters of these kinds, `times` in a row."""
    times: int = 0
    lacks: str = ""
    """No character of these kinds."""


class Marks:
    """The kinds of marks in the texts of a batch; a text that is null may have any."""

    def __init__(self, texts: pa.StringArray) -> None:
        data, self._starts = bytes_of(texts)
        self._marks = _TABLE.take(data)
        self._of_text = np.zeros(len(texts), np.uint16)
        filled = np.flatnonzero(np.diff(self._starts))
        if len(filled):
            self._of_text[filled] = np.bitwise_or.reduceat(self._marks, self._starts[filled])

    def rows(self, needed: NeededMarks) -> Rows:
        """Returns the rows of the texts that have what is needed, and of some with a shorter run at their end."""
        found = (self._of_text & _bits(needed.lacks)) == 0
        for characters in needed.holds:
            found &= (self._of_text & _bits(characters)) != 0
        if needed.run:
            found &= self._running(needed.run, needed.times)
        return np.flatnonzero(found)

    def _running(self, characters: str, times: int) -> Bools:
        """True where so many marks of these kinds follow each other, also into the next text."""
        runs, done = (self._marks & _bits(characters)) != 0, 1
        while done < times:
            step = min(done, times - done)
            runs, done = runs[:-step] & runs[step:], done + step
        found = np.zeros(len(self._of_text), bool)
        found[np.searchsorted(self._starts, np.flatnonzero(runs), "right") - 1] = True
        return found


def _bits(characters: str) -> np.uint16:
    """The kinds of some characters."""
    points = np.array([min(ord(one), 0xFF) for one in characters], np.intp)
    return np.uint16(np.bitwise_or.reduce(_TABLE[points], initial=0))
