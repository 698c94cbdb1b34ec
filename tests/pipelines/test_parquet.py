"""Tables under work/, read whole or in part."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.files import Store
from pipelines.parquet import RowGroups
from schemas.errors import DamagedError


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
def test_some_rows_of_a_table(tmp_path: Path, count: int, group: int, start: int, more: int) -> None:
    """A range of rows is that of the whole table, and row groups come in order with the number of their first row."""
    path = tmp_path / "a.parquet"
    whole = pa.table(
        {"a": pa.array(range(count), pa.int64()), "b": pa.array(map(str, range(count)), pa.string())}
    )
    pq.write_table(whole, path, row_group_size=group)
    file = RowGroups(Store(), str(path))
    assert file.table() == whole
    assert file.rows(start, start + more) == whole.slice(start, more)
    found = list(file.each(["b"]))
    assert [first for first, _ in found] == list(range(0, count, group))
    assert [value for _, table in found for value in table["b"].to_pylist()] == whole["b"].to_pylist()


def test_a_damaged_row_group(tmp_path: Path) -> None:
    """A bit that flipped in a page is found where its rows are read, and a file that is missing at once."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path, compression="none", write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[400] ^= 1
    path.write_bytes(data)
    file = RowGroups(Store(), str(path))
    with pytest.raises(DamagedError, match=r"a\.parquet is damaged"):
        file.rows(0, 10)
    path.unlink()
    with pytest.raises(DamagedError, match="it is missing"):
        RowGroups(Store(), str(path))
