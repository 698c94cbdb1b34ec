"""The headers of pages say what a list unpacks to, and no others are followed."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.manifest_pages import Page, pages

VALUES = st.lists(st.text(max_size=30), max_size=300)
OPTIONS = st.fixed_dictionaries(
    {
        "data_page_size": st.sampled_from([1, 100, 1 << 20]),
        "write_batch_size": st.sampled_from([1, 7, 1024]),
        "write_page_checksum": st.booleans(),
        "write_statistics": st.booleans(),
        "compression": st.sampled_from(["zstd", "none"]),
    }
)


def written(values: list[Any], **options: Any) -> tuple[bytes, pq.FileMetaData]:
    """One column as a Parquet file, and its footer."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": values}), sink, use_dictionary=False, **options)
    data = bytes(sink.getvalue())
    return data, pq.ParquetFile(pa.BufferReader(data)).metadata


def found(data: bytes, **place: Any) -> list[Page]:
    """The pages of a column that lies there as its footer says."""
    return list(pages(memoryview(data), SimpleNamespace(**place)))


@given(VALUES.map(lambda values: ["", *values]), OPTIONS)
def test_pages_come_to_what_an_honest_footer_says(values: list[str], options: dict[str, Any]) -> None:
    """With their headers they are all of the column, packed and unpacked, however it was cut into pages."""
    data, facts = written(values, **options)
    column = facts.row_group(0).column(0)
    each = list(pages(memoryview(data), column))
    headers = column.total_compressed_size - sum(page.packed for page in each)
    assert sum(page.unpacked for page in each) + headers == column.total_uncompressed_size
    assert 8 * len(each) < headers < 200 * len(each)
    assert all(page.is_plain for page in each)


@pytest.mark.parametrize("option", [{"column_encoding": "DELTA_BYTE_ARRAY"}, {"data_page_version": "2.0"}])
def test_other_pages_are_not_plain(option: dict[str, Any]) -> None:
    """Values that are encoded by those before them, and another kind of page, are told apart."""
    data, facts = written(["a" * 50] * 50, **option)
    assert not any(page.is_plain for page in pages(memoryview(data), facts.row_group(0).column(0)))


FIRST = bytes([0x15, 0, 0x15, 20, 0x15, 20])
"""Type 0, ten bytes unpacked and ten packed."""


@pytest.mark.parametrize(
    "header",
    [
        b"\x15",
        FIRST,
        bytes([0x15, 0, 0x15, 20, 0]),  # no packed size
        bytes([0x15, 0, 0x15, 19, 0x15, 20, 0]),  # minus ten bytes
        FIRST + bytes([0x05, 4, 254, 255, 127, 0]),  # field 2 once more, by its number
        FIRST + bytes([0x2C, 0x1C, 0x1C, 0x1C, 0, 0, 0, 0]),  # structs in structs
        FIRST + bytes([0x19, 0x15, 0, 0]),  # a list
        bytes([0x15, *[255] * 20, 0]),  # a number without end
    ],
)
def test_a_header_that_no_page_has_is_refused(header: bytes) -> None:
    """A field that stands there twice, or is cut, or of another type: Arrow may take it for something else."""
    data = header + (bytes(10) if header.endswith(b"\0") else b"")
    with pytest.raises(ValueError, match="header of a page"):
        found(data, data_page_offset=0, total_compressed_size=len(data))


@given(st.binary(max_size=60), st.integers(-5, 70), st.integers(-5, 70))
def test_no_bytes_do_any_harm(data: bytes, at: int, size: int) -> None:
    """Whatever lies there is pages within the column, or a ValueError."""
    try:
        each = found(data, data_page_offset=at, total_compressed_size=size)
    except ValueError:
        return
    assert sum(page.packed for page in each) <= size
