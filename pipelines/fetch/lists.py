"""Lists of images as they are published: Parquet, CSV, TSV, JSON lines, texts with a URL a line, parallel arrays.

Whatever a list looks like, a task gets ranges of its rows as tables of LIST. Parquet is read where it lies; other files
are first written as Parquet, once, in one pass (phase `lists`).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.arrow import pc
from filters.extra import number
from pipelines.fetch.formats import ANY, LISTS, ListFormat
from pipelines.files import Store, shown
from pipelines.layout import Layout
from pipelines.recipe.model import Source
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.lines import lines
from pipelines.sources.records import IN_RECIPE, OF_LISTS, Fields, fields_of, missing_column
from pipelines.sources.shard import InputShard, Reading
from pipelines.sources.text import records
from schemas.errors import InputError, RowError, ShardError
from schemas.parquet import opened

_HASHES: Final = {"sha256": re.compile(r"[0-9a-f]{64}"), "md5": re.compile(r"[0-9a-f]{32}")}
LIST: Final = pa.schema(
    [
        ("url", pa.string()),
        ("caption", pa.binary()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("sha256", pa.string()),
        ("md5", pa.string()),
        ("phash", pa.uint64()),
        ("extra", pa.string()),
        ("malformed", pa.string()),
        ("error", pa.string()),
    ]
)
"""A list as the fetch reads it; `error` says why a record is malformed, and all else is null then.

`malformed` names the hashes of a row that have a value which is none, with commas between them.
"""
HASHES: Final = ("sha256", "md5", "phash")

ROWS: Final = 4096
_MOST_PARALLEL_BYTES: Final = 1 << 30
_MOST_SIDE: Final = 1 << 31


@dataclass(frozen=True)
class ColumnMap:
    """Which columns of a list hold what; those in `needed` must be there."""

    columns: Columns
    of: Mapping[str, tuple[str, ...]]
    written: ListFormat
    needed: tuple[str, ...]

    @classmethod
    def of_source(cls, source: Source) -> "ColumnMap":
        """Returns what the source says: its own columns, then those of the list that it names, then the usual ones."""
        settings, own = source.fetch, source.columns
        written = LISTS[settings.list] if settings.list else ANY
        url = own.names("url") if own.required("url") or own.like else written.url
        caption = own.names("caption") if own.required("caption") else written.caption
        columns = Columns(url=url, caption=caption, extra=own.names("extra") or None)
        parts = ("width", "height", "sha256", "md5", "phash")
        of = {part: getattr(settings, part) or getattr(written, part) for part in parts}
        needed = [part for part in parts if getattr(settings, part)]
        if settings.list or own.required("caption"):
            needed.append("caption")
        return cls(columns, of, written, tuple(needed))

    def check(self, where: object, there: Sequence[str]) -> None:
        """Raises InputError where a column that is needed is not among those there."""
        wanted = {"url": self.columns.names("url"), "caption": self.columns.names("caption"), **self.of}
        for part in ("url", *self.needed):
            if not set(wanted[part]) & set(there):
                raise InputError(_missing(where, part, wanted[part], there))
        for name in self.columns.names("extra"):
            if name not in there and self.columns.required("extra"):
                raise InputError(_missing(where, "extra", [name], there))

    def taken(self, there: Iterable[str]) -> list[str]:
        """Returns the columns that are read, of those there."""
        wanted = {*self.columns.names("url"), *self.columns.names("caption"), *self.columns.names("extra")}
        wanted.update(name for names in self.of.values() for name in names)
        return [name for name in there if name in wanted]

    def row(self, record: Mapping[str, object] | RowError) -> dict[str, Any]:
        """Returns a record as a row of LIST."""
        if isinstance(record, RowError):
            return {"error": record.message}
        fields = fields_of(_plain(record, self.columns.names("caption")), self.columns)
        if fields.error is not None:
            return {"error": fields.error.message}
        return self._row(record, fields)

    def _row(self, record: Mapping[str, object], fields: Fields) -> dict[str, Any]:
        given = {part: _first(record, self.of[part]) for part in HASHES}
        hashes = {part: _hash(value, part) for part, value in given.items()}
        wrong = [part for part in HASHES if hashes[part] is None and _is_given(given[part])]
        return {
            "url": fields.url,
            "caption": fields.caption,
            "width": _side(_first(record, self.of["width"])),
            "height": _side(_first(record, self.of["height"])),
            **hashes,
            "extra": _extra_text(fields),
            "malformed": ", ".join(wrong) or None,
        }


def columns_of(mapped: ColumnMap, piece: pa.Table) -> pa.Table | None:
    """Returns what `mapped.row` makes of each row, column by column; None where a column is not of the usual type."""
    names = mapped.columns.names
    try:
        url, caption = (_text(piece, names(part)) for part in ("url", "caption"))
        sides = {part: _sides(piece, mapped.of[part]) for part in ("width", "height")}
        digests = {part: _digests(_text(piece, mapped.of[part]), part) for part in _HASHES}
        extra = _extras(piece, mapped)
    except (_Unusual, pa.ArrowInvalid):
        return None
    columns = {
        "url": pc.if_else(pc.equal(url, ""), None, url),
        "caption": caption.cast(pa.binary()),
        **sides,
        **digests,
        "phash": _hashes(piece, mapped.of["phash"]),
        "extra": extra,
        "error": pa.nulls(piece.num_rows, pa.string()),
    }
    columns["malformed"] = _malformed(piece, mapped, columns)
    return pa.table({name: columns[name] for name in LIST.names}, schema=LIST)


class _Unusual(Exception):
    """A column whose values have to be looked at one by one."""


def _of(piece: pa.Table, names: Sequence[str]) -> list[dict[str, Any]]:
    there = [name for name in names if name in piece.column_names]
    return list(piece.select(there).to_pylist()) if there else [{}] * piece.num_rows


def _candidates(piece: pa.Table, names: Sequence[str]) -> list[Any]:
    return [piece[name] for name in names if name in piece.column_names]


def _text(piece: pa.Table, names: Sequence[str]) -> Any:
    """The first value that is not null of some columns of text. Raises ArrowInvalid for bytes that are no UTF-8."""
    found = [pa.nulls(piece.num_rows, pa.string())]
    for column in _candidates(piece, names):
        if not pa.types.is_string(column.type):
            raise _Unusual
        column.validate(full=True)
        found.append(column.combine_chunks())
    return pc.coalesce(*found)


def _sides(piece: pa.Table, names: Sequence[str]) -> Any:
    found = []
    for column in _candidates(piece, names):
        if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
            raise _Unusual
        found.append(column.combine_chunks().cast(pa.float64(), safe=False))
    values = (
        pc.coalesce(*found, pa.scalar(None, pa.float64()))
        if found
        else pa.nulls(piece.num_rows, pa.float64())
    )
    numbers = values.to_numpy(zero_copy_only=False)
    sound = (numbers >= 1) & (numbers < _MOST_SIDE)
    return pa.array(np.where(sound, numbers, 0).astype(np.int64), mask=~sound)


def _digests(texts: Any, kind: str) -> Any:
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    return pc.if_else(pc.match_substring_regex(plain, f"^(?:{_HASHES[kind].pattern})$"), plain, None)


def _hashes(piece: pa.Table, names: Sequence[str]) -> Any:
    if not _candidates(piece, names):
        return pa.nulls(piece.num_rows, pa.uint64())
    return pa.array((perceptual(_first(record, names)) for record in _of(piece, names)), pa.uint64())


def _malformed(piece: pa.Table, mapped: ColumnMap, columns: Mapping[str, Any]) -> Any:
    """The names of the hashes that have a value which is none; only rows with one are looked at one by one."""
    found: dict[int, list[str]] = {}
    for part in HASHES:
        names = mapped.of[part]
        lost = columns[part].is_null().to_numpy(zero_copy_only=False)
        given = [column.is_valid().to_numpy() for column in _candidates(piece, names)]
        places = np.flatnonzero(lost & np.any(given, axis=0)) if given else np.empty(0, int)
        records = _of(piece.take(places), names) if len(places) else []
        for place, record in zip(places.tolist(), records, strict=True):
            if _is_given(_first(record, names)):
                found.setdefault(place, []).append(part)
    if not found:
        return pa.nulls(piece.num_rows, pa.string())
    return pa.array((", ".join(found.get(row, ())) or None for row in range(piece.num_rows)), pa.string())


def _extras(piece: pa.Table, mapped: ColumnMap) -> Any:
    names = mapped.columns.names("extra")
    if not any(name in piece.column_names for name in names):
        return pa.nulls(piece.num_rows, pa.string())
    fields = [fields_of(record, mapped.columns) for record in _of(piece, names)]
    if any(one.error is not None for one in fields):
        raise _Unusual
    return pa.array([_extra_text(one) for one in fields], pa.string())


def _extra_text(fields: Fields) -> str | None:
    extra = {name: value for name, value in fields.extra.items() if value is not None}
    return json.dumps(extra, sort_keys=True, ensure_ascii=False) if extra else None


def _missing(where: object, part: str, wanted: Iterable[str], there: Sequence[str]) -> str:
    text = missing_column(where, part, wanted, there)
    return text.replace(IN_RECIPE, OF_LISTS)


def _plain(record: Mapping[str, object], captions: Sequence[str]) -> Mapping[str, object]:
    """The record with the first of several captions in the place of a list."""
    for name in captions:
        value = record.get(name)
        if isinstance(value, list):
            return _plain({**record, name: value[0] if value else None}, captions)
    return record


def _first(record: Mapping[str, object], names: Iterable[str]) -> object:
    found = next((record[name] for name in names if record.get(name) is not None), None)
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found


def _side(value: object) -> int | None:
    """A side in pixels, also from text; None for what cannot be one."""
    found = number(value)
    return int(found) if found is not None and 1 <= found < _MOST_SIDE else None


def _is_given(value: object) -> bool:
    """Whether a value says something: neither null nor blank nor NaN."""
    return value is not None and value == value and (not isinstance(value, str) or bool(value.strip()))


def _hash(value: object, part: str) -> str | int | None:
    return perceptual(value) if part == "phash" else _digest(value, part)


def _digest(value: object, kind: str) -> str | None:
    text = str(value).strip().lower() if isinstance(value, str) else ""
    return text if _HASHES[kind].fullmatch(text) else None


def perceptual(value: object) -> int | None:
    """Returns a perceptual hash of 64 bits, from 16 hex digits or a number; None for what cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 64:
        return value & 0xFFFFFFFFFFFFFFFF
    if isinstance(value, str) and re.fullmatch(r"(?:0x)?[0-9a-fA-F]{16}", value.strip()):
        return int(value.strip(), 16)
    return None


def text_tables(source: Source, shard: InputShard, store: Store, limits: ReadLimits) -> Iterator[pa.Table]:
    """Yields a list that is no Parquet as tables of LIST. Raises InputError and ShardError where it cannot be read."""
    mapped = ColumnMap.of_source(source)
    # a column of captions need not be there, unless the source says so
    unset = {} if "caption" in mapped.needed else {"caption": None}
    reading = Reading(shard, store, mapped.columns.model_copy(update=unset), limits)
    if mapped.written.parallel:
        found: Iterable[Mapping[str, object] | RowError] = _parallel(shard, store, mapped)
    elif shard.format == "txt":
        found = (RowError("bad_row", "no text") if error else {"url": line} for line, error in lines(reading))
        mapped = ColumnMap(Columns(url=("url",)), mapped.of, mapped.written, ())
    elif mapped.written.header:
        found = _headless(reading, mapped)
    else:
        found = (record for _, record in records(reading, ("url",)))
    yield from _tables(map(mapped.row, found))


def _headless(reading: Reading, mapped: ColumnMap) -> Iterator[Mapping[str, object] | RowError]:
    names = mapped.written.header
    for line, error in lines(reading):
        fields = (line or b"").split(b"\t")
        if error is not None:
            yield error
        elif len(fields) != len(names):
            yield RowError(
                "bad_row", f"the line has {len(fields)} fields, not {len(names)} ({', '.join(names)})"
            )
        else:
            yield dict(zip(names, fields, strict=True))


def _parallel(shard: InputShard, store: Store, mapped: ColumnMap) -> Iterator[Mapping[str, object]]:
    """The records of one JSON object that holds an array a column."""
    data = store.read_bytes(shard.path, _MOST_PARALLEL_BYTES)
    try:
        if len(data) > _MOST_PARALLEL_BYTES:
            raise ValueError("too large")
        columns = json.loads(data)
        arrays = {name: one for name, one in columns.items() if isinstance(one, list)}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{shard} is no JSON object with an array for each column; name its list") from error
    mapped.check(shard, list(arrays))
    taken = mapped.taken(arrays)
    if len({len(arrays[name]) for name in taken}) > 1:
        raise InputError(f"{shard} has columns of different lengths: {', '.join(taken)}; get it again")
    return (dict(zip(taken, row, strict=True)) for row in zip(*(arrays[name] for name in taken), strict=True))


def _tables(rows: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    held: list[dict[str, Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == ROWS:
            yield pa.Table.from_pylist(held, LIST)
            held = []
    if held:
        yield pa.Table.from_pylist(held, LIST)


def store_of(source: Source, layout: Layout, ours: bool) -> Store:
    """Returns the store of a list in Parquet: that of the corpus where the file is one that we wrote."""
    return Store((layout.options if ours else source.storage_options) or None, source.id)


def count(shard: InputShard, store: Store) -> int:
    """Returns the rows of a list in Parquet, from its footer. Raises InputError where it is none."""
    with _parquet(shard, store) as file:
        return int(file.metadata.num_rows)


def range_of(shard: InputShard, store: Store, mapped: ColumnMap | None, start: int, stop: int) -> pa.Table:
    """Returns rows of a list in Parquet as a table of LIST; `mapped` None: the file is one that we wrote."""
    return pa.concat_tables([LIST.empty_table(), *tables_of(shard, store, mapped, start, stop)])


def malformed(names: pa.ChunkedArray, first: int) -> dict[str, list[int]]:
    """Returns, for each hash that is malformed in some rows, how many these are, and the number of the first.

    `names` is that column of LIST, from row `first` on.
    """
    found: dict[str, list[int]] = {}
    for row in np.flatnonzero(names.is_valid().to_numpy()).tolist():
        for part in names[row].as_py().split(", "):
            found.setdefault(part, [0, first + row])[0] += 1
    return found


def tables_of(
    shard: InputShard, store: Store, mapped: ColumnMap | None, start: int, stop: int
) -> Iterator[pa.Table]:
    """Yields what `range_of` returns, piece by piece."""
    with _parquet(shard, store) as file:
        there = file.schema_arrow.names
        if mapped is None:
            yield from _slices(file, LIST.names, start, stop)
            return
        mapped.check(shard, there)
        for piece in _slices(file, mapped.taken(there), start, stop):
            yield from _mapped(mapped, piece)


def _mapped(mapped: ColumnMap, piece: pa.Table) -> Iterable[pa.Table]:
    """The rows of LIST that a piece of a list is: by columns where its types are the usual ones, else row by row."""
    quick = columns_of(mapped, piece)
    return [quick] if quick is not None else _tables(map(mapped.row, _records(piece)))


def _records(piece: pa.Table) -> list[dict[str, Any]]:
    try:
        return list(piece.to_pylist())
    except UnicodeDecodeError:  # Parquet's strings are not checked
        columns = [
            piece[name].cast(pa.binary())
            if pa.types.is_string(piece.schema.field(name).type)
            else piece[name]
            for name in piece.column_names
        ]
        return list(pa.table(columns, names=piece.column_names).to_pylist())


def _slices(file: pq.ParquetFile, columns: list[str], start: int, stop: int) -> Iterator[pa.Table]:
    """The rows from `start` to `stop`, of the row groups alone that hold them."""
    first = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first < stop and start < first + rows:
            at = first
            for batch in file.iter_batches(16_384, row_groups=[group], columns=columns, use_threads=False):
                low, high = max(start - at, 0), min(stop - at, batch.num_rows)
                if low < high:
                    yield pa.Table.from_batches([batch.slice(low, high - low)])
                at += batch.num_rows
                if at >= stop:
                    break
        first += rows


class _parquet:
    """The open file of a list in Parquet; what is wrong with it is an InputError that names it."""

    def __init__(self, shard: InputShard, store: Store) -> None:
        self._shard, self._store = shard, store

    def __enter__(self) -> pq.ParquetFile:
        self._file = self._store.open(self._shard.path)
        try:
            return opened(self._file)
        except (pa.ArrowException, OSError) as error:
            self._file.close()
            raise ShardError(
                f"{self._shard} is no sound Parquet: {shown(str(error))[:200]}; get it again"
            ) from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, pa.ArrowException | OSError):
            raise ShardError(
                f"{self._shard} is damaged ({type(error).__name__}): get it again or leave it out"
            ) from error
