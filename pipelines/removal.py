"""The list of what is removed from a corpus: read, checked, hashed, and kept as removed.parquet in its folder.

A list once given stays with the corpus: a later one adds to it. It holds the SHA-256 of each value, not the value.
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.fetch.address import host_as_asked, target
from pipelines.fetch.statuses import Failure
from pipelines.files import Store, absolute, shown
from pipelines.layout import Layout
from pipelines.outputs import damaged
from pipelines.parquet import read_table
from pipelines.receipts import WHOLE, Receipts, Task
from schemas.errors import DamagedError, InputError
from schemas.parquet import opened

NAME: Final = "removed.parquet"
"""The list of a corpus, by its name in the manifest."""

_COLUMNS: Final = {name: pa.string() for name in ("column", "sha256", "reason", "date")}
LIST: Final = pa.schema([*_COLUMNS.items(), ("only_listed", pa.bool_())])
"""removed.parquet: one row a value; `only_listed`: rows like the one that it names stay."""


def _digits(count: int) -> Callable[[str], str | None]:
    """Returns what gives a value of so many hex digits in lower case, None for any other."""

    def plain(value: str) -> str | None:
        return value.lower() if re.fullmatch(f"[0-9a-fA-F]{{{count}}}", value) else None

    return plain


def _key(value: str) -> str | None:
    """The key of a row, of which a sample's key is the first part."""
    return _digits(32)(value.partition("-")[0])


def url_as_asked(url: str) -> str:
    """Returns a URL as it is asked; what no host is asked for stays as it is written, with its fragment."""
    try:
        return target(shown(url)).url
    except Failure:
        return shown(url)


def _host(value: str) -> str | None:
    return None if re.search(r"[/\s]", value) else host_as_asked(value)


BY: Final[dict[str, Callable[[str], str | None]]] = {
    "key": _key,
    "id": str,
    "url": url_as_asked,
    "host": _host,
    "sha256": _digits(64),
}
"""The columns that a list may have, and what gives a value of each in its one form; None where it is no such value."""


def hashed(value: str) -> str:
    """Returns the SHA-256 that stands for a value."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def spellings(url: str) -> set[str]:
    """Returns a URL as it is written and as it is asked; lists that were kept before this held the first alone."""
    return {url, url_as_asked(url)}


def hosts_of(url: str) -> set[str]:
    """Returns the host of a URL as it is written and as it is asked; an empty set where it has none."""
    try:
        found = urlsplit(url).hostname
    except ValueError:  # such as of brackets that do not close
        return set()
    return {found.rstrip("."), host_as_asked(found)} if found else set()


_DIGEST: Final = b"vlcorpus.digest"


class Entry(NamedTuple):
    """One row of the list."""

    column: str
    sha256: str
    reason: str | None
    date: str | None
    only_listed: bool


@dataclass(frozen=True)
class Removed:
    """A list, sorted by column and hash, each value once."""

    entries: tuple[Entry, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def with_(self, others: Iterable[Entry]) -> "Removed":
        """Returns both lists as one; a value of both keeps its first reason, and is `only_listed` if both say so."""
        found: dict[tuple[str, str], Entry] = {}
        for entry in (*self.entries, *others):
            old = found.setdefault(entry[:2], entry)
            found[entry[:2]] = old._replace(only_listed=old.only_listed and entry.only_listed)
        return Removed(tuple(found[name] for name in sorted(found)))

    def digest(self) -> str | None:
        """Returns what changes when the list does; None for an empty one."""
        return hashed(repr([tuple(entry) for entry in self.entries])) if self.entries else None

    def by_column(self) -> dict[str, dict[str, Entry]]:
        """Returns the entries by their column, and there by their hash."""
        found: dict[str, dict[str, Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.column, {})[entry.sha256] = entry
        return found

    def keep(self, layout: Layout) -> None:
        """Writes the list into the corpus, where it differs by a byte."""
        path, data = layout.at(NAME), self._bytes()
        if self.entries and not (layout.store.exists(path) and layout.store.read_bytes(path) == data):
            # from here on the manifest is not that of what lies there
            Receipts(layout, "card").clear([Task(WHOLE, "")], synced=True)
            layout.store.write_bytes(path, data, layout.tmp)

    def _bytes(self) -> bytes:
        """The list as a Parquet file, with its digest: a bit that flips anywhere in the file is noticed."""
        schema = LIST.with_metadata({_DIGEST: self.digest() or ""})
        table = pa.Table.from_pylist([entry._asdict() for entry in self.entries], schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", compression_level=3, write_page_checksum=True)
        return bytes(sink.getvalue())


def kept(layout: Layout) -> Removed:
    """Returns the list of a corpus, an empty one where it has none. InputError where it is damaged."""
    path = layout.at(NAME)
    if not layout.store.exists(path):
        return Removed()
    try:
        table = read_table(layout, path)
        found = Removed(tuple(Entry(**row) for row in table.select(LIST.names).to_pylist()))
        if (table.schema.metadata or {}).get(_DIGEST) != (found.digest() or "").encode():
            raise damaged(path, "its rows are not those that were written")
        return found
    except (DamagedError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is damaged: put back the one of a copy, or remove it and give the lists again with --removed"
        ) from error


def read(path: str, only_listed: bool = False, column: str | None = None) -> Removed:
    """Returns the list in a file: Parquet, CSV, or text with a value a line.

    `column` says what the values are; else the file does, by the name of its column (of text, by its first line).
    Raises InputError where the file cannot be read, has no such column or several, or holds a value that is none.
    """
    try:
        names, rows = _table(path, Store().read_bytes(path), column)
    except (pa.ArrowException, csv.Error, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the list of removed rows {path} cannot be read ({type(error).__name__}): give Parquet (.parquet), CSV "
            "(.csv), or text in UTF-8 with a value a line"
        ) from error
    known = [name for name in names if name == column or (column is None and name in BY)]
    if len(known) != 1:
        what = (
            f"has the columns {' and '.join(known)}"
            if known
            else f"has no column {column or ' or '.join(BY)}"
        )
        raise InputError(
            f"the list of removed rows {path} {what}: name one, in the header, or in the first line of a text"
        )
    found = [_entry(path, number, known[0], row, only_listed) for number, row in enumerate(rows, 1)]
    entries = [entry for entry in found if entry is not None]
    if not entries:
        raise InputError(
            f"the list of removed rows {path} holds no {known[0]}: write one a line below the header"
        )
    return Removed().with_(entries)


def _table(path: str, data: bytes, column: str | None) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    """The names of a file's columns, and its rows."""
    if path.endswith(".parquet"):
        table = opened(io.BytesIO(data)).read()
        return table.column_names, table.to_pylist()
    text = data.decode("utf-8-sig")
    if path.endswith(".csv"):
        rows = csv.DictReader(io.StringIO(text, newline=""))
        return rows.fieldnames or (), list(rows)
    first, *others = text.splitlines() or [""]
    name = column or first.strip()
    lines = others if first.strip() == name else [first, *others]
    return [name], [{name: line} for line in lines]


def _entry(path: str, number: int, column: str, row: Mapping[str, Any], only_listed: bool) -> Entry | None:
    """The entry of one row of a list; None where it is empty."""
    value = "" if row[column] is None else str(row[column]).strip()
    if not value:
        return None
    plain = BY[column](value)
    if plain is None:
        raise InputError(f"the list of removed rows {path}: value {number} is no {column}")
    reason, date = (str(row[name]) if row.get(name) else None for name in ("reason", "date"))
    return Entry(column, hashed(plain), reason, date, only_listed)


def gathered(layout: Layout, given: str | None, only_listed: bool) -> Removed:
    """Returns the list of a corpus with that of a file, where one is given."""
    listed = kept(layout)
    return listed if given is None else listed.with_(read(absolute(given), only_listed).entries)
