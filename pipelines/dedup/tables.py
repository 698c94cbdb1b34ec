"""Tables on disk as numpy columns, and tables cut into the partitions of a shuffle."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.dedup.digests import mix
from pipelines.engines.step import Json
from pipelines.files import Store, join
from schemas.errors import InputError

Columns = dict[str, npt.NDArray[Any]]
ROW_GROUP: Final = 64 * 1024


class Folder:
    """The files of one run: scratch tables of numbers, read and written whole."""

    def __init__(self, setup: Json) -> None:
        self.store = Store(setup["options"])
        self.scratch = str(setup["scratch"])

    def path(self, step: str, partition: int) -> str:
        """The path of a partition's scratch file."""
        return join(self.scratch, step, f"{partition:06d}.parquet")

    def save(self, step: str, partition: int, columns: Columns) -> str:
        """Write a scratch table; its path."""
        path = self.path(step, partition)
        # digests neither repeat nor compress
        self.write(path, pa.table(dict(columns)), compression="none", use_dictionary=False)
        return path

    def write(
        self,
        path: str,
        table: pa.Table,
        compression: Literal["zstd", "none"] = "zstd",
        use_dictionary: bool = True,
    ) -> None:
        """Write a table as Parquet, whole or not at all; equal tables give equal bytes."""
        with self.store.write_atomic(path, join(self.scratch, "tmp")) as local:
            pq.write_table(
                table,
                local,
                compression=compression,
                use_dictionary=use_dictionary,
                row_group_size=ROW_GROUP,
                version="2.6",
            )

    def load(self, path: str, *names: str) -> Columns:
        """The named columns of a scratch table (all without names)."""
        return columns_of(self.read(path, list(names) or None))

    def read(self, path: str, names: list[str] | None = None) -> pa.Table:
        """A Parquet file's table, or of it the named columns."""
        with self.store.open(path) as file:
            try:
                # ParquetFile, not read_table: a folder called a=b must not turn into a column
                return pq.ParquetFile(file).read(names)
            except (pa.ArrowException, KeyError) as damage:
                raise InputError(f"{path} cannot be read ({damage}): measure its source again") from damage

    def between(self, path: str, first: int, last: int) -> Columns:
        """Of a table sorted by its column `row`, the rows from `first` to `last`, both included."""
        with self.store.open(path) as file:
            parquet = pq.ParquetFile(file)
            column = parquet.schema_arrow.get_field_index("row")
            groups = [
                group
                for group in range(parquet.num_row_groups)
                if _overlaps(parquet.metadata.row_group(group).column(column).statistics, first, last)
            ]
            found = columns_of(parquet.read_row_groups(groups))
        return take(found, (found["row"] >= first) & (found["row"] <= last))


def columns_of(table: pa.Table) -> Columns:
    """A table of numbers without nulls as arrays."""
    return {name: table[name].to_numpy() for name in table.column_names}


def take(columns: Mapping[str, npt.NDArray[Any]], which: npt.NDArray[Any]) -> Columns:
    """The rows that an index or a mask picks."""
    return {name: values[which] for name, values in columns.items()}


def joined(parts: list[Columns]) -> Columns:
    """Tables of the same columns, one below the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def spread(columns: Columns, by: npt.NDArray[Any], partitions: int) -> Iterator[tuple[int, pa.Table]]:
    """The pieces of a table, each row in the partition of its value in `by`."""
    yield from cut(columns, (mix(by.astype(np.uint64)) % np.uint64(partitions)).astype(np.int64))


def cut(columns: Columns, partition: npt.NDArray[np.int64]) -> Iterator[tuple[int, pa.Table]]:
    """The pieces of a table, given each row's partition."""
    order = np.argsort(partition, kind="stable")
    table = pa.table(take(columns, order))
    numbers, starts = np.unique(partition[order], return_index=True)
    ends = np.append(starts, len(order))[1:]
    for number, start, end in zip(numbers.tolist(), starts.tolist(), ends.tolist(), strict=True):
        yield number, table.slice(start, end - start)


def _overlaps(statistics: Any, first: int, last: int) -> bool:
    return statistics is None or not (statistics.max < first or statistics.min > last)
