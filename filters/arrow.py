"""Arrow, typed as these filters use it.

The stubs refuse what the library does: take with an array of row numbers, a comparison with a Python
value, `max_element_wise` of arrays. Here those few calls are typed by hand.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

Column: TypeAlias = "pa.Array[Any]"
Lists: TypeAlias = "pa.ListArray[Any]"
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

pc: Final[Any] = pyarrow.compute


def array(values: Any, kind: pa.DataType | None = None, mask: Bools | None = None) -> Any:
    """An Arrow array of `values`, null where `mask` is true."""
    return pa.array(values, kind, mask=mask)


def lists(offsets: Any, values: Any, kind: pa.DataType | None = None, mask: Any = None) -> Any:
    """An array of lists from int32 offsets and the values of all lists."""
    make: Any = pa.ListArray.from_arrays
    return make(array(np.asarray(offsets, np.int32)), values, type=kind, mask=mask)


def some(column: Any, rows: Rows) -> Any:
    """The rows of a column or table, by number."""
    return column.take(array(rows))


def bools(condition: Any) -> Bools:
    """A boolean column as numpy has it, null as false."""
    filled = pc.fill_null(condition, False)
    return np.asarray(
        filled.to_numpy() if isinstance(filled, pa.ChunkedArray) else filled.to_numpy(zero_copy_only=False),
        bool,
    )


def any_of(conditions: Sequence[Any]) -> Any:
    """A boolean column: true where any of the conditions is; null counts as false."""
    return array(np.logical_or.reduce([bools(one) for one in conditions]))


def bytes_of(texts: pa.StringArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Returns the bytes of all texts in a row, without a copy, and where each text starts, and the last ends."""
    _, places, data = texts.buffers()
    if not len(texts) or places is None or data is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int32)
    starts = np.frombuffer(places, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8)[starts[0] : starts[-1]], starts - starts[0]


def matching(
    texts: pa.StringArray, expression: str, needed: str | None = None, rows: Rows | None = None
) -> Rows:
    """The rows in which an RE2 expression is found, whatever the case.

    `needed` is found wherever the expression is, and so are `rows`, where they are given: no other rows are searched,
    and without any nothing is compiled.
    """
    if rows is not None:
        return rows[matching(some(texts, rows), expression, needed)] if len(rows) else rows
    if needed is not None:
        rows = matching(texts, needed)
        return rows[matching(some(texts, rows), expression)] if len(rows) else rows
    return np.flatnonzero(bools(pc.match_substring_regex(texts, expression, ignore_case=True)))


def put(texts: pa.StringArray, rows: Rows, values: pa.StringArray) -> Any:
    """`texts` with `values` in place of `rows` (ascending)."""
    mask = np.zeros(len(texts), bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, array(mask), values) if len(rows) else texts
