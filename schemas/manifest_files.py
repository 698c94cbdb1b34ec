"""The files that a manifest names: in manifest.json itself, or, of a large corpus, in a Parquet list beside it.

Whoever has a manifest reads both forms alike: `Manifest.outputs` is a mapping from names, sorted, to their digests. Of
a list it stays an Arrow table, some hundred bytes a file.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import VerifyError
from schemas.manifest_pages import pages
from schemas.parquet import opened

MOST_IN_JSON: Final = 4_096
"""Where shards come to more files than that, manifest.json names the list of them instead of each."""

MAX_FILES: Final = 10_000_000
"""A list of more files is refused."""

MAX_LIST: Final = 1 << 30
"""A list above this size is refused unread: ours take some 25 bytes a file."""

_MAX_UNPACKED: Final = (1 << 31) - 1
"""So many bytes a list may come to in memory: one column of an Arrow array has no more characters."""

_MAX_PAGE: Final = 1 << 26
"""A page of a list that unpacks to more is refused: the longest names of a row group of ours come to 16 MiB."""

_MAX_NAME: Final = 1_024
"""So many bytes the name of a file has at most."""

_ROW_GROUP: Final = 16_384

_AT_ONCE: Final = 1_024
"""So many rows of a list are Python's values at once."""

LIST: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("rows", pa.int64()),
        pa.field("place", pa.int32()),
    ]
)
"""A row for each file below `shards/`, sorted by name; `place` counts the shards of a folder in the order of their
data, from 0, and is null for the index of a tar."""

_NOT_PLAIN: Final = "its columns are not plainly encoded"
"""A value that stands once in a dictionary, and a million times in the rows, is small until it is unpacked."""

_NAME: Final = r"^shards(/[^/\\\x00-\x1f\x7f]+){4}$"
_LEAVES: Final = r"/\.{1,2}(/|$)"


class Record(BaseModel):
    """A frozen part of the manifest in which an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Count = Annotated[int, Field(ge=0, strict=True)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Output(Record):
    """A file of the corpus; `rows` is null where the file does not consist of rows."""

    size: Count
    sha256: Sha256
    rows: Count | None = None

    @classmethod
    def of(cls, data: bytes, rows: int | None = None) -> "Output":
        """Returns what the manifest says of a file of these bytes."""
        return cls(size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=rows)


class Listed(Mapping[str, Output]):
    """The files of a large corpus by name, sorted: `few` stand in manifest.json, those of `table` in its list."""

    def __init__(self, few: Mapping[str, Output], table: pa.Table) -> None:
        self.few = dict(sorted(few.items()))
        self.table = table.combine_chunks()

    def __len__(self) -> int:
        return len(self.few) + int(self.table.num_rows)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items())

    def __getitem__(self, name: str) -> Output:
        if name in self.few:
            return self.few[name]
        at = self._at(name)
        for found, output in outputs_of(self.table.slice(at, 1)):
            if found == name:
                return output
        raise KeyError(name)

    def items(self) -> ItemsView[str, Output]:
        """Returns names and outputs, which are made one by one as they are asked for."""
        return _Items(self)

    def with_few(self, more: Mapping[str, Output]) -> "Listed":
        """Returns these files, and `more` outside `shards/`."""
        return Listed(self.few | dict(more), self.table)

    @cached_property
    def order(self) -> "Order":
        """The names of the shards of each folder, in the order of their data."""
        return Order(self)

    @cached_property
    def folders(self) -> Sequence[str]:
        """The folders that the files of the list lie in, sorted."""
        return sorted(pc.unique(_folders(self.table)).to_pylist())

    def below(self, folder: str) -> pa.Table:
        """Returns the rows of the list whose files lie below a folder."""
        first, last = self._at(f"{folder}/"), self._at(f"{folder}0")
        return self.table.slice(first, last - first)

    def _at(self, name: str) -> int:
        """Returns where the list has the name, or would have it."""
        names = self.table["name"]
        place: int = bisect_left(range(len(names)), name, key=lambda row: str(names[row]))
        return place


class _Items(ItemsView[str, Output]):
    """Names and outputs of a list: looked up one by one, as in any mapping, each would cost a search."""

    def __init__(self, files: Listed) -> None:
        super().__init__(files)
        self._files = files

    def __iter__(self) -> Iterator[tuple[str, Output]]:
        few = list(self._files.few.items())
        first = sum(name < "shards/" for name, _ in few)
        yield from few[:first]
        yield from outputs_of(self._files.table)
        yield from few[first:]


class Order(Mapping[str, tuple[str, ...]]):
    """The names of the shards by folder, in the order of their data; those of a folder are read when asked for."""

    def __init__(self, files: Listed) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files.folders)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files.folders)

    def __getitem__(self, folder: str) -> tuple[str, ...]:
        rows = self._files.below(folder)
        shards = rows.filter(pc.is_valid(rows["place"])).sort_by("place")
        if not len(shards):
            raise KeyError(folder)
        return tuple(stem(name).rpartition("/")[2] for name in shards["name"].to_pylist())


def stem(name: str) -> str:
    """Returns the name of a shard's file without its suffix, which a tar and its index have in common."""
    return name.rpartition(".")[0]


def outputs_of(table: pa.Table) -> Iterator[tuple[str, Output]]:
    """Yields the names and outputs of some rows of a list."""
    for batch in table.to_batches(max_chunksize=_AT_ONCE):
        columns = (batch[name].to_pylist() for name in ("name", "size", "sha256", "rows"))
        for name, size, sha256, rows in zip(*columns, strict=True):
            yield name, Output.model_construct(size=size, sha256=sha256, rows=rows)


def _folders(table: pa.Table) -> pa.ChunkedArray:
    return pc.replace_substring_regex(table["name"], "/[^/]*$", "")


def dump_list(table: pa.Table) -> bytes:
    """Returns the one Parquet file that a list of these rows is."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.select(LIST.names).cast(LIST),
        sink,
        row_group_size=_ROW_GROUP,
        use_dictionary=False,
        compression="zstd",
        compression_level=3,
        write_page_checksum=True,
    )
    return bytes(sink.getvalue())


def list_name(data: bytes) -> str:
    """Returns the name of a list: with its digest, so that the list of an older manifest stays until that goes."""
    return f"manifest-{hashlib.sha256(data).hexdigest()[:16]}.parquet"


def is_list(name: str) -> bool:
    """Returns whether a file of the corpus is called what `list_name` calls a list."""
    return re.fullmatch(r"manifest-[0-9a-f]{16}\.parquet", name) is not None


def load_list(data: bytes, name: str, few: Mapping[str, Output]) -> Listed:
    """Returns the files of a list of these bytes, beside the `few` of its manifest, which have its digest.

    Raises VerifyError where it is not what manifest.json says, or names what no list of ours does.
    """
    output = few[name]
    if (found := Output.of(data, output.rows)) != output:
        raise VerifyError(
            f"{name}, the list of files, has {found.size:,} bytes with the SHA-256 {found.sha256}, but manifest.json "
            f"says {output.size:,} bytes with {output.sha256}"
        )
    try:
        file = opened(pa.BufferReader(data))
        _check(name, _form_problems(file, memoryview(data), output.rows))
        table = file.read(use_threads=False).combine_chunks()
        _check(name, _problems(table, few))
    except (pa.ArrowException, OSError, ValueError) as error:
        what = " ".join(str(error).split())[:300]
        raise VerifyError(f"{name}, the list of files, cannot be read as Parquet: {what}") from error
    return Listed(few, table)


def _check(name: str, problems: Iterator[str]) -> None:
    """Raises VerifyError with the first problem of a list."""
    for problem in problems:
        raise VerifyError(f"{name} is no list of files: {problem}")


def _form_problems(file: pq.ParquetFile, data: memoryview, rows: int | None) -> Iterator[str]:
    """Yields what is wrong with a list that is not unpacked yet; ValueError where its pages cannot be followed."""
    facts = file.metadata
    groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
    if facts.num_rows > MAX_FILES:
        yield f"it has {facts.num_rows:,} files, above the limit of {MAX_FILES:,}"
    if not file.schema_arrow.equals(LIST):
        given = ", ".join(f"{one.name} ({one.type})" for one in file.schema_arrow)
        yield f"its columns are {given[:200]}, which are not those of a list"
    if not facts.num_rows == rows == sum(group.num_rows for group in groups):
        yield f"it has {facts.num_rows:,} rows, but manifest.json says {rows}"
    if any(group.num_rows < 0 or group.num_columns != len(LIST) for group in groups):
        yield "a row group has less than no rows, or other columns"
    unpacked = 0
    for column in (group.column(at) for group in groups for at in range(len(LIST))):
        for page in () if column.has_dictionary_page else pages(data, column):
            unpacked += page.unpacked
            if page.unpacked > _MAX_PAGE or unpacked > _MAX_UNPACKED:
                yield f"it unpacks to more than {_MAX_UNPACKED:,} bytes, or a page of it to more than {_MAX_PAGE:,}"
            if not page.is_plain:
                yield _NOT_PLAIN
        if column.has_dictionary_page:
            yield _NOT_PLAIN


def _problems(table: pa.Table, few: Iterable[str]) -> Iterator[str]:
    """Yields what is wrong with the rows of a list."""
    names = table["name"]
    wrong = pc.or_(
        pc.invert(pc.match_substring_regex(names, _NAME)), pc.match_substring_regex(names, _LEAVES)
    )
    if _any(wrong):
        yield f"{names.filter(wrong)[0].as_py()[:200]!r} is not the name of a shard's file"
    if _any(pc.greater(pc.binary_length(names), _MAX_NAME)):
        yield f"a name has more than {_MAX_NAME:,} bytes"
    if _any(pc.greater_equal(names[:-1], names[1:])):
        yield "its names are not sorted, or one stands there twice"
    if any(name.startswith("shards/") for name in few):
        yield "manifest.json names files of shards too"
    counts = [pc.less(table[name], 0) for name in ("size", "rows", "place")]
    bad = pc.invert(pc.match_substring_regex(table["sha256"], "^[0-9a-f]{64}$"))
    if any(map(_any, (*counts, bad))):
        yield "a size, a number of rows, a place or a digest is none"
    elif not _in_order(table):
        yield "the order of its shards does not name each of them once"


def _any(column: pa.ChunkedArray) -> bool:
    """Returns whether any value is true."""
    return bool(pc.any(column).as_py())


def _in_order(table: pa.Table) -> bool:
    """Returns whether the shards of each folder have the places 0, 1, … and indexes of tars have none."""
    names = table["name"]
    tar = pc.replace_substring_regex(names, r"\.parquet$", ".tar")
    index = pc.and_(pc.ends_with(names, ".parquet"), pc.is_in(tar, value_set=names))
    if not index.equals(pc.is_null(table["place"])):
        return False
    rows = pa.table({"folder": _folders(table), "place": table["place"]}).filter(pc.invert(index))
    folders, places = rows.sort_by([("folder", "ascending"), ("place", "ascending")]).columns
    starts = np.flatnonzero(pc.not_equal(folders[1:], folders[:-1]).to_numpy()) + 1
    wanted = np.arange(len(places)) - np.repeat(np.r_[0, starts], np.diff(np.r_[0, starts, len(places)]))
    return bool(np.array_equal(places.to_numpy(), wanted))
