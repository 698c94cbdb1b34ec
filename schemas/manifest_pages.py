"""What the pages of a Parquet file unpack to by their own headers: those that Arrow goes by when it unpacks them.

The footer says the same of a column as a whole, and may say anything. A header is a struct in Thrift's compact protocol
(parquet.thrift, PageHeader); Arrow gives no access to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow.parquet as pq

_TRUE, _FALSE, _I32, _I64, _BINARY, _STRUCT = 1, 2, 5, 6, 8, 12
"""Thrift's types of fields that stand in the header of a page with values."""

_DEPTH: Final = 3
"""A header holds a header of its kind of page, and that holds statistics."""

_DATA_PAGE: Final = 0
_PLAIN: Final = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A page: how many bytes it has in the file and unpacked, and whether it holds values as they are."""

    packed: int
    unpacked: int
    is_plain: bool


def pages(data: memoryview, column: pq.ColumnChunkMetaData) -> Iterator[Page]:
    """Yields the pages of a column of a row group; ValueError where a header is none."""
    at = column.data_page_offset
    end = at + column.total_compressed_size
    if not 0 <= at <= end <= len(data):
        raise ValueError("its pages lie where none may")
    while at < end:
        fields, at = _struct(data, at, _DEPTH)
        values = fields.get(5)
        page = Page(
            packed=_number(fields.get(3)),
            unpacked=_number(fields.get(2)),
            is_plain=fields.get(1) == _DATA_PAGE and isinstance(values, dict) and values.get(2) == _PLAIN,
        )
        yield page
        at += page.packed
    if at != end:
        raise ValueError("its pages do not end where their column does")


def _number(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("the header of a page lacks its size")
    return value


def _struct(data: memoryview, at: int, depth: int) -> tuple[dict[int, object], int]:
    """Returns the fields of a struct by their numbers, and where it ends; each number is above the one before it."""
    fields: dict[int, object] = {}
    last = 0
    while head := _byte(data, at):
        at += 1
        step, kind = head >> 4, head & 15
        if not step or not depth:  # a field might else stand there twice, of which Arrow takes the second
            raise ValueError("the header of a page has fields that none has")
        last += step
        if kind in (_I32, _I64):
            raw, at = _varint(data, at)
            fields[last] = (raw >> 1) ^ -(raw & 1)
        elif kind == _BINARY:
            size, at = _varint(data, at)
            at += size
        elif kind == _STRUCT:
            fields[last], at = _struct(data, at, depth - 1)
        elif kind not in (_TRUE, _FALSE):
            raise ValueError("the header of a page has fields that none has")
    return fields, at + 1


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Returns an unsigned number and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = _byte(data, at)
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("the header of a page holds a number without end")


def _byte(data: memoryview, at: int) -> int:
    if at >= len(data):
        raise ValueError("the header of a page is cut")
    return data[at]
