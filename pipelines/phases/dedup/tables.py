"""Tables on disk as numpy columns, and tables cut into the partitions of a shuffle.

Digests are pairs of 64-bit numbers (`hi`, `lo`), so that numpy compares and sorts them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engines.step import Json, Piece
from pipelines.files import join
from pipelines.layout import Layout
from pipelines.parquet import read_whole
from schemas.parquet import opened

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Texts: TypeAlias = "pa.Array[Any]"

HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
NIBBLE: Final = np.full(256, 255, np.uint8)
NIBBLE[HEX] = np.arange(16)

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_SHORT: Final = 1 << 16
_SHIFT, _PRIME = np.uint64(32), np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Values:
    """One value of 128 bits a row; only where `known`."""

    hi: U64
    lo: U64
    known: npt.NDArray[np.bool_]


def mix(numbers: U64) -> U64:
    """A permutation of the 64-bit numbers that spreads every bit over all."""
    for _ in range(2):
        numbers = (numbers ^ (numbers >> _SHIFT)) * _PRIME
    mixed: U64 = numbers ^ (numbers >> _SHIFT)
    return mixed


def key_words(keys: Texts) -> tuple[U64, U64]:
    """The two halves of each key of 32 lower-case hex digits; they sort as the keys do.

    Raises ValueError where a key is none.
    """
    lengths, texts = _bytes(keys)
    if keys.null_count or (lengths != 32).any():
        raise ValueError("a key is not 32 hex digits")
    nibbles = NIBBLE[texts.reshape(-1, 32)]
    if (nibbles > 15).any():
        raise ValueError("a key is not 32 hex digits")
    words = np.ascontiguousarray(nibbles[:, ::2] << 4 | nibbles[:, 1::2]).view(">u8").astype(np.uint64)
    return words[:, 0].copy(), words[:, 1].copy()


def keys_of(hi: U64, lo: U64) -> Texts:
    """The keys, as strings, of which `key_words` gave the halves."""
    data = np.ascontiguousarray(np.stack([hi, lo], axis=1).astype(">u8")).view(np.uint8)
    texts = np.empty((len(hi), 32), np.uint8)
    texts[:, ::2], texts[:, 1::2] = HEX[data >> 4], HEX[data & 15]
    offsets = np.arange(0, 32 * len(hi) + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(hi), pa.py_buffer(offsets.tobytes()), pa.py_buffer(texts.tobytes())
    )


def fingerprints(texts: Texts) -> Values:
    """128 bits for each text that is neither null nor empty, equal for equal texts.

    The texts are digests themselves, so the mixing need not withstand an adversary; all their bytes
    go into it, since nothing says where a digest keeps its entropy.
    """
    lengths, data = _bytes(texts.fill_null(""))
    offsets = np.cumsum(lengths) - lengths
    hi, lo = np.zeros(len(texts), np.uint64), np.zeros(len(texts), np.uint64)
    for length in sorted({*lengths.tolist()} - {0}):
        rows = np.flatnonzero(lengths == length)
        padded = np.zeros((len(rows), -(-length // 8) * 8), np.uint8)
        # digests of one kind are all equally long, and then lie end to end
        whole = len(rows) * length == len(data)
        padded[:, :length] = (
            data.reshape(-1, length) if whole else data[offsets[rows][:, None] + np.arange(length)]
        )
        first = np.full(len(rows), length, np.uint64) * _FIRST
        second = np.full(len(rows), length, np.uint64) * _SECOND
        for word in padded.view("<u8").astype(np.uint64).T:
            first, second = mix(first ^ word) + _FIRST, mix(second + word) ^ _SECOND
        hi[rows], lo[rows] = mix(first), mix(second)
    return Values(hi, lo, lengths > 0)


def _bytes(texts: Texts) -> tuple[npt.NDArray[np.int64], U8]:
    """Each text's length in bytes, and all bytes end to end; `texts` is pa.string() without nulls."""
    if not len(texts) or texts.null_count:
        return np.zeros(len(texts), np.int64), np.empty(0, np.uint8)
    _, offset_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(memoryview(offset_buffer or b""), np.int32)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(memoryview(data_buffer or b""), np.uint8)[offsets[0] : offsets[-1]]
    return np.diff(offsets).astype(np.int64), data


Columns = dict[str, npt.NDArray[Any]]
ROW_GROUP: Final = 64 * 1024


class Folder:
    """The files of one run: scratch tables of numbers, read and written whole."""

    def __init__(self, setup: Json) -> None:
        self.store = Layout(**setup["layout"]).store
        self.scratch = str(setup["scratch"])

    def path(self, step: str, partition: int) -> str:
        """The path of a partition's scratch file."""
        return join(self.scratch, step, f"{partition:06d}.parquet")

    def save(self, step: str, partition: int, columns: Columns) -> str:
        """Write a scratch table; its path."""
        path = self.path(step, partition)
        # digests neither repeat nor compress
        self.write(path, pa.table(dict(columns)), compression="none", use_dictionary=False, scratch=True)
        return path

    def write(
        self,
        path: str,
        table: pa.Table,
        compression: Literal["zstd", "none"] = "zstd",
        use_dictionary: bool = True,
        scratch: bool = False,
    ) -> None:
        """Write a table as Parquet, whole or not at all; equal tables give equal bytes."""
        with self.store.write_atomic(path, join(self.scratch, "tmp"), scratch=scratch) as local:
            pq.write_table(
                table,
                local,
                compression=compression,
                use_dictionary=use_dictionary,
                row_group_size=ROW_GROUP,
                version="2.6",
                write_statistics=["row"] if scratch else True,
            )

    def load(self, path: str, *names: str) -> Columns:
        """The named columns of a scratch table (all without names)."""
        return columns_of(self.read(path, list(names) or None))

    def column(self, path: str, name: str) -> npt.NDArray[Any]:
        """One column of a scratch table, read without the others."""
        with self.store.open(path) as file:
            found: npt.NDArray[Any] = opened(file).read(columns=[name])[name].to_numpy()
        return found

    def read(self, path: str, names: list[str] | None = None) -> pa.Table:
        """A Parquet file's table, or of it the named columns. DamagedError where it cannot be read."""
        return read_whole(self.store, path, names)

    def between(self, path: str, first: int, last: int) -> Columns:
        """Of a table sorted by its column `row`, the rows from `first` to `last`, both included."""
        with self.store.open(path) as file:
            parquet = opened(file)
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


def ordered(columns: Columns, *names: str) -> Columns:
    """The rows sorted by the named columns, the first named weighs most."""
    return take(columns, np.lexsort([columns[name] for name in reversed(names)]))


def firsts(*columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """For each row of sorted columns whether it is the first of its value."""
    first = np.ones(len(columns[0]), np.bool_)
    if len(first):
        first[1:] = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        first[1:] |= column[1:] != column[:-1]
    return first


def runs(*columns: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """For each row of sorted columns, the index of the first row of the same value."""
    first = firsts(*columns)
    return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


def totals(run: npt.NDArray[np.int64], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """For each entry, the rows of all entries of its run."""
    first = np.flatnonzero(run == np.arange(len(run)))
    if not len(first):
        return np.zeros(0, np.int64)
    return np.repeat(np.add.reduceat(rows, first, dtype=np.int64), np.diff(first, append=len(run)))


def stretches(values: npt.NDArray[Any]) -> Iterator[tuple[int, int, int]]:
    """Each of the sorted values, and from where to where it stands."""
    starts = np.flatnonzero(firsts(values))
    ends = np.append(starts, len(values))[1:]
    yield from zip(values[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)


def repeated(hi: U64) -> npt.NDArray[np.bool_]:
    """For each of sorted numbers whether it stands there more than once."""
    fresh = firsts(hi)
    shared: npt.NDArray[np.bool_] = ~(fresh & np.append(fresh[1:], True))
    return shared


def places_in(numbers: npt.NDArray[Any], sought: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """For each sought number its first place among the sorted ones, or -1."""
    at = np.searchsorted(numbers, sought)
    found = at < len(numbers)
    found[found] = numbers[at[found]] == sought[found]
    return np.where(found, at, -1)


def values_in(values: Columns, sought: Columns) -> npt.NDArray[np.int64]:
    """For each sought value (`value`, `lo`) its place among the distinct ones (`hi`, `lo`), sorted, where all are."""
    first, end = (np.searchsorted(values["hi"], sought["value"], side) for side in ("left", "right"))
    at = first.copy()
    left = np.arange(len(at))
    while len(left := left[values["lo"][at[left]] != sought["lo"][left]]):
        at[left] += 1
        if (at[left] >= end[left]).any():
            raise ValueError("a value is not among the distinct ones")
    return at


def joined(parts: list[Columns]) -> Columns:
    """Tables of the same columns, one below the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def spread(columns: Columns, by: npt.NDArray[Any], partitions: int) -> Iterator[tuple[int, pa.Table]]:
    """The pieces of a table, each row in the partition of its value in `by`."""
    yield from cut(columns, (mix(by.astype(np.uint64)) % np.uint64(partitions)).astype(np.int64))


def sent(columns: Columns, by: npt.NDArray[Any], partitions: int) -> Piece:
    """A table on its way, each row to the partition of its value in `by`."""
    return (mix(by.astype(np.uint64)) % np.uint64(partitions)).astype(np.int32), pa.table(dict(columns))


def cut(columns: Columns, partition: npt.NDArray[Any]) -> Iterator[tuple[int, pa.Table]]:
    """The pieces of a table, given each row's partition: sorted once, then slices."""
    if len(partition) and int(partition.max()) < _SHORT:
        partition = partition.astype(np.uint16)  # which numpy sorts by counting
    order = np.argsort(partition, kind="stable")
    table = pa.table(take(columns, order))
    for number, start, end in stretches(partition[order]):
        yield number, table.slice(start, end - start)


def _overlaps(statistics: Any, first: int, last: int) -> bool:
    return statistics is None or not (statistics.max < first or statistics.min > last)
