"""Parquet under work/: one set of writer settings, so that equal tables are equal bytes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.outputs import damaged, held
from schemas.errors import DamagedError, InputError
from schemas.parquet import opened

ROW_GROUP = 16_384


def write_tables(layout: Layout, path: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write tables of `schema` as one file, in row groups of ROW_GROUP however they were cut; gives the rows."""
    rows = 0
    with (
        layout.store.write_atomic(path, layout.tmp) as temporary,
        # the manifest names no file of work/: page checksums let whoever reads one see a flipped bit
        pq.ParquetWriter(
            temporary, schema, compression="zstd", compression_level=3, write_page_checksum=True
        ) as writer,
    ):
        for table in _regrouped(tables):
            rows += table.num_rows
            writer.write_table(table, row_group_size=ROW_GROUP)
    return rows


def _regrouped(tables: Iterable[pa.Table]) -> Iterable[pa.Table]:
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count >= ROW_GROUP:
            whole = pa.concat_tables(held)
            yield whole.slice(0, ROW_GROUP).combine_chunks()
            held = [whole.slice(ROW_GROUP)]
            count -= ROW_GROUP
    if count:
        yield pa.concat_tables(held).combine_chunks()


def read_table(layout: Layout, path: str, columns: list[str] | None = None) -> pa.Table:
    """Returns the file's table, or some of its columns.

    Raises DamagedError where it is missing, cannot be read or is not what the task at hand may believe it to be.
    """
    return read_whole(layout.store, path, columns)


def read_whole(store: Store, path: str, columns: list[str] | None = None) -> pa.Table:
    """Returns the table of a file that a phase wrote, or some of its columns; DamagedError as of `read_table`."""
    return RowGroups(store, path).table(columns)


class RowGroups:
    """A file that a phase wrote, whose row groups are read one by one; DamagedError as of `read_table`."""

    def __init__(self, store: Store, path: str) -> None:
        self._path = path
        try:
            data = held(path, store.read_bytes(path))
        except InputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise damaged(path, "it is missing") from error
        with self._reading():
            self._file = opened(pa.BufferReader(data))

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """Returns all rows."""
        with self._reading():
            # a worker has a core to itself; handing a small file's columns to threads costs more than it gives
            return self._file.read(columns=columns, use_threads=False)

    def each(self, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yields the number of its first row with each row group."""
        first = 0
        for group in range(self._file.num_row_groups):
            with self._reading():
                table = self._file.read_row_group(group, columns, use_threads=False)
            yield first, table
            first += table.num_rows

    def rows(self, start: int, stop: int) -> pa.Table:
        """Returns the rows from one number on up to another one; reads no row group beside theirs."""
        groups: list[int] = []
        before = first = 0
        for group in range(self._file.num_row_groups):
            end = first + self._file.metadata.row_group(group).num_rows
            if first < stop and end > start:
                before = before if groups else first
                groups.append(group)
            first = end
        with self._reading():
            table = self._file.read_row_groups(groups, use_threads=False)
        return table.slice(start - before, stop - start)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, KeyError, OSError, ValueError) as error:
            raise damaged(self._path, " ".join(str(error).split())[:200]) from error


def write_valid(layout: Layout, path: str, validity: str, table: pa.Table) -> None:
    """Writes rows that later runs may use again, with the fingerprint of what a single row depends on."""
    schema = table.schema.with_metadata({"validity": validity})
    write_tables(layout, path, schema, [table.cast(schema)])


def still_valid(layout: Layout, path: str, validity: str, schema: pa.Schema) -> pa.Table:
    """Returns the rows that an earlier run left with the same fingerprint; none where there is no such file.

    None either where it is damaged: what is not there is computed again.
    """
    try:
        table = read_table(layout, path)
    except DamagedError:
        return schema.empty_table()
    if (table.schema.metadata or {}).get(b"validity") != validity.encode():
        return schema.empty_table()
    return table.replace_schema_metadata(None)


def by_member(table: pa.Table, column: str, members: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Returns a column's value for each of some members of the shard that a table is of; null where it has none."""
    wanted = members.combine_chunks() if isinstance(members, pa.ChunkedArray) else members
    at = pc.index_in(wanted, value_set=table["member"].combine_chunks())
    return table[column].combine_chunks().take(at)
