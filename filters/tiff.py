"""Directories of the TIFF structure, which TIFF files and EXIF blocks share; read with bounds."""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

TYPE_BYTES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes of one value of each type of field."""

BIG: Final = 43
"""The magic number of BigTIFF, with offsets of eight bytes."""


class Field(NamedTuple):
    """One entry of a directory.

    `size` is of its values in bytes; `value` the first of them where they fit into the entry
    (`inline`), else the place where they are.
    """

    tag: int
    size: int
    value: int
    inline: bool


class Tiff:
    """A TIFF structure in memory; every read outside of it gives zeros or nothing."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order: Literal["little", "big"] = "big" if data[:2] == b"MM" else "little"
        self.sound = data[:2] in (b"II", b"MM")
        self.wide = 8 if self._number(2, 2) == BIG else 4

    def first(self) -> int:
        """Where the first directory starts, 0 where there is none."""
        return self._number(self.wide, self.wide) if self.sound else 0

    def fields(self, start: int) -> Iterator[Field]:
        """The entries of the directory at `start`, as many as are there whole."""
        counter, entry = (8, 20) if self.wide == 8 else (2, 12)
        first = start + counter
        count = min(self._number(start, counter), (len(self.data) - first) // entry) if start else 0
        for at in range(first, first + entry * count, entry):
            yield self._field(at)

    def _field(self, at: int) -> Field:
        kind, count = self._number(at + 2, 2), self._number(at + 4, self.wide)
        unit, place = TYPE_BYTES.get(kind, 0), at + 4 + self.wide
        inline = unit * count <= self.wide
        return Field(
            self._number(at, 2), unit * count, self._number(place, unit if inline else self.wide), inline
        )

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], self.order)
