"""Digests of the rows of a list, by which a list that changed is held against what was fetched of it."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from filters.arrow import pc

Digests = npt.NDArray[np.uint64]

COLUMN: Final = "listed"
"""The column with the digests, of a range of a list and of STATUS."""

_ROWS: Final = 4096


def of_rows(table: pa.Table) -> Digests:
    """Returns a digest of 64 bits for each row of LIST, which depends on all its columns and on nothing else."""
    found = [np.empty(0, np.uint64)]
    for first in range(0, table.num_rows, _ROWS):
        texts = _joined(table.slice(first, _ROWS)).to_pylist()
        found.append(np.fromiter(map(xxhash.xxh3_64_intdigest, texts), np.uint64, len(texts)))
    return np.concatenate(found)


def _joined(table: pa.Table) -> Any:
    """All columns of each row as one text: numbers and lengths, then the texts."""
    is_number = pa.types.is_integer
    numbers = [pc.coalesce(one.cast(pa.string()), "-") for one in table.columns if is_number(one.type)]
    texts = [one.cast(pa.binary()) for one in table.columns if not is_number(one.type)]
    lengths = [pc.coalesce(pc.binary_length(text).cast(pa.string()), "-") for text in texts]
    before = [column.cast(pa.binary()) for column in (*numbers, *lengths)]
    return pc.binary_join_element_wise(*before, *(pc.coalesce(text, b"") for text in texts), b",")


def with_digests(table: pa.Table) -> pa.Table:
    """Returns rows of LIST with their digests in one more column."""
    return table.append_column(COLUMN, pa.array(of_rows(table), pa.uint64()))


class Ranges:
    """The digests of a list's ranges of `size` rows each, from its tables in their order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._hash = xxhash.xxh3_128()
        self._closed: list[str] = []
        self.rows = 0

    def passed(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yields tables of LIST as they are, and takes their rows in."""
        for table in tables:
            self._add(of_rows(table))
            yield table

    @property
    def digests(self) -> list[str]:
        """The digests, one for each range; the last range has the rest of the rows."""
        return self._closed + [self._hash.hexdigest()] * (self.rows % self._size > 0)

    def _add(self, rows: Digests) -> None:
        while len(rows):
            part, rows = np.split(rows, [self._size - self.rows % self._size])
            self._hash.update(part.astype("<u8").tobytes())
            self.rows += len(part)
            if self.rows % self._size == 0:
                self._closed.append(self._hash.hexdigest())
                self._hash.reset()
