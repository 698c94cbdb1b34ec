"""Records of CSV and TSV files: the delimiter is recognised, and a quote that is left open costs one record.

The parser is Python's `csv`, fed one physical line at a time. A record that spans lines must be sound CSV, and its
lines must not all be records of their own; else its first line is a bad row and the others are read anew. In a record
of one line a field with text after its closing quote is taken as it stands, quotes included.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pipelines.sources.lines import UNSOUND, Record, TextFile, opened
from pipelines.sources.records import IMAGE_SUFFIXES, is_text, no_text, twice
from pipelines.sources.shard import Reading
from schemas.errors import InputError, RowError, ShardError

_MARKS: Final = {"csv": ",;\t|", "tsv": "\t,;|"}
_SEP: Final = re.compile(r"sep=(.)\s*", re.I)  # Excel's own first line
_HEX: Final = re.compile(r"[0-9a-f-]{16,}", re.I)
_DIGITS: Final = re.compile(r"\d+")
_LETTERS: Final = re.compile(r"[^\W\d_]+")

_NO_LIMIT: Final = 2**31 - 1  # of the parser's own; lines are limited before it sees them

Fields = list[str]


class _TooLong(Exception):
    """A line or a record is longer than `record_bytes`."""


def csv_records(reading: Reading) -> Iterator[tuple[int, Record]]:
    """(record number from 0, the record by the names of the first line, or what is wrong with it).

    InputError if a column that is looked for stands twice; ShardError if the first
    line is no line of names.
    """
    with opened(reading) as text:
        parser = _Parser(text, reading.columns.all_names())
        rows = iter(parser)
        header = next(rows, None)
        if header is None:
            return
        line, names = header
        if isinstance(names, RowError):
            raise ShardError(
                f"{reading.shard} is no sound CSV: its first line must name the columns ({names.message}); mend it"
            )
        if again := twice(names, parser.known):
            raise InputError(
                f"{reading.shard}: the column {again!r} stands twice in its first line; rename one"
            )
        for number, (line, fields) in enumerate(rows):
            if isinstance(fields, RowError):
                yield number, fields
            elif is_text("".join(fields)):
                yield number, _record(names, fields, line)
            else:
                yield number, no_text(text.encoding)


def _record(names: Fields, fields: Fields, line: int) -> Record:
    if len(fields) != len(names):
        return RowError("bad_row", f"line {line} has {len(fields)} fields, the first line names {len(names)}")
    return {name: value.encode() for name, value in zip(names, fields, strict=True)}


class _Lines:
    """Physical lines one by one; those of the current record are kept, so that they can be read again."""

    def __init__(self, text: TextFile) -> None:
        self.record: list[tuple[int, str]] = []
        self.ended = False
        self._text = text
        self._fresh = enumerate(_physical(text), 1)
        self._again: deque[tuple[int, str | None]] = deque()
        self._size = 0
        self._long: tuple[int, str | None] | None = None

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        numbered = self._again.popleft() if self._again else next(self._fresh, None)
        if numbered is None:
            self.ended = True
            raise StopIteration
        number, line = numbered
        self._size += len(line or "")
        if line is None or self._size > self._text.reading.limits.record_bytes + 2:
            self._long = number, line
            raise _TooLong
        self.record.append((number, line))
        return line

    def begin(self) -> None:
        """Starts a record."""
        self.record, self.ended, self._size = [], False, 0

    def first(self) -> str:
        """The first line that is not blank, which is read again; empty at the end, and where it is too long."""
        line = "\n"
        while line and not line.strip():
            self.begin()
            try:
                line = next(self, "")
            except _TooLong:
                line = ""
                self._again.append(self._long)  # type: ignore[arg-type]
        self._again.extendleft(self.record)
        return line

    def back(self) -> None:
        """Gives back all lines of the record but its first, to be read again."""
        self._again.extendleft(reversed(self.record[1:]))

    def too_long(self) -> tuple[int, RowError]:
        """What is wrong after _TooLong, with its line: one line, or a quoted field that does not close."""
        assert self._long is not None
        limit = self._text.reading.limits.record_bytes
        if not self.record:
            return self._long[0], RowError("too_large", f"the line has more than {limit} bytes")
        self._again.appendleft(self._long)
        self.back()
        line = self.record[0][0]
        return line, _open(line, f"does not close within {limit} bytes")


class _Parser:
    """Iterates over (number of its first line, fields or what is wrong) of each record that is not blank."""

    def __init__(self, text: TextFile, known: Iterable[str]) -> None:
        self.known = frozenset(known)
        limits = text.reading.limits
        self._quoted = text.reading.shard.format == "csv" if limits.quotes is None else limits.quotes
        self._lines = _Lines(text)
        csv.field_size_limit(_NO_LIMIT)
        first = self._lines.first()
        named = _SEP.fullmatch(first)
        if named:
            next(self._lines)
        self._delimiter = limits.delimiter or (
            named.group(1) if named else self._best(first, text.reading.shard.format)
        )
        other = f"[^{re.escape(self._delimiter)}]*"
        self._field = re.compile(rf'"((?:[^"]|"")*+)"({other})|{other}')
        self._width = 0
        self._kinds: list[str | None] = []

    def __iter__(self) -> Iterator[tuple[int, Fields | RowError]]:
        reader = self._reader(self._lines)
        while True:
            self._lines.begin()
            try:
                fields = next(reader, None)
            except _TooLong:
                yield self._lines.too_long()
                reader = self._reader(self._lines)
                continue
            if fields is None:
                return
            line = self._lines.record[0][0]
            several = len(self._lines.record) > 1 or self._lines.ended
            problem = self._problem(fields) if several else None
            if problem:
                self._lines.back()
                yield line, _open(line, problem)
            elif not self._is_blank(stored := self._lines.record[0][1]):
                if self._width and not several and '"' in stored and not self._is_sound([stored]):
                    fields = self._as_it_stands(stored)
                self._learn(fields)
                yield line, fields

    def _is_blank(self, line: str) -> bool:
        """Whether a line is no record: of nothing but space, which a tab is only where it does not part fields."""
        return not line.strip() and self._delimiter not in line

    def _learn(self, fields: Fields) -> None:
        """Takes the width from the first record, the names, and the kinds of the values from the next."""
        if not self._width:
            self._width = len(fields)
        elif not self._kinds and len(fields) == self._width:
            self._kinds = [_kind(field) for field in fields]

    def _problem(self, fields: Fields) -> str | None:
        """What is wrong with a record of several lines, None if it is sound."""
        lines = [line for _, line in self._lines.record]
        if not self._is_sound(lines):
            return "does not close where a field ends"
        if self._width and len(fields) != self._width:
            return f"makes a record of {len(fields)} fields over {len(lines)} lines, not of {self._width}"
        alone = [line.rstrip("\r\n").split(self._delimiter) for line in lines if line.strip()]
        if self._width > 1 and self._are_records(alone, self._kinds or [_kind(field) for field in fields]):
            return f"swallows the {len(lines) - 1} lines after it"
        return None

    def _is_sound(self, lines: Sequence[str]) -> bool:
        """Whether each quote that opens a field closes where the field ends."""
        try:
            list(self._reader(lines, strict=True))
        except csv.Error:
            return False
        return True

    def _as_it_stands(self, line: str) -> Fields:
        """The fields of a line, between the delimiters that the parser sees; quotes that enclose none are kept."""
        text = line.rstrip("\r\n")
        fields, at = [], 0
        while at <= len(text):
            field = self._field.match(text, at)
            assert field is not None, "a field may be empty"
            inner, rest = field.group(1, 2)
            encloses = inner is not None and not rest.strip()
            fields.append(inner.replace('""', '"') + rest if encloses else field.group())
            at = field.end() + 1
        return fields

    def _are_records(self, lines: Sequence[Fields], kinds: Sequence[str | None]) -> bool:
        """Whether each line taken alone is a record: by its width, and by a path, number or address in its place.

        Where no column holds such, by having no space after a delimiter, as prose has.
        """
        if any(len(fields) != self._width for fields in lines):
            return False
        if not any(kinds):
            return not any(field.startswith(" ") for fields in lines for field in fields[1:])
        return all(
            any(kind and kind == _kind(field) for kind, field in zip(kinds, fields, strict=False))
            for fields in lines
        )

    def _best(self, first: str, form: str) -> str:
        """The delimiter that finds the most known names in the first line, then the most fields."""

        def found(mark: str) -> tuple[int, int]:
            self._delimiter = mark
            names: Fields = next(self._reader([first]), [])
            return len(self.known & set(names)), len(names)

        return max(_MARKS[form], key=found)

    def _reader(self, lines: Iterable[str], strict: bool = False) -> Any:
        return csv.reader(
            lines,
            delimiter=self._delimiter,
            quoting=csv.QUOTE_MINIMAL if self._quoted else csv.QUOTE_NONE,
            strict=strict,
        )


def _open(line: int, problem: str) -> RowError:
    return RowError(
        "bad_row",
        f"line {line}: a quoted field opens here and {problem}; write the quote twice inside quotes, or say "
        "read: {quotes: off}",
    )


def _kind(value: str) -> str | None:
    """What sort of a name, number or address a value is; None for words, which say nothing."""
    text = value.rstrip("\r\n")
    if not text or any(letter.isspace() for letter in text):
        return None
    if "://" in text:
        return "://"
    stem, _, suffix = text.rpartition(".")
    if stem and suffix.lower() in IMAGE_SUFFIXES:
        return "image"
    if _HEX.fullmatch(text):
        return "hex"
    shape = _LETTERS.sub("a", _DIGITS.sub("0", text))
    return shape if "0" in shape and shape[-1] not in ".,;:!?" else None


def _physical(text: TextFile) -> Iterator[str | None]:
    """Each line with its end; None for one longer than `record_bytes`."""
    encoding = "utf-8-sig" if text.is_utf8 else text.encoding
    decoded = io.TextIOWrapper(text.file, encoding, errors=UNSOUND, newline="")
    limit = text.reading.limits.record_bytes
    while line := text.line(decoded.readline):
        whole = _ends(line) or len(line) <= limit
        while not _ends(line) and (more := text.line(decoded.readline)):
            line = more
        # characters bound bytes from below
        size = len(line) if 4 * len(line) <= limit else len(line.encode("utf-8", "surrogateescape"))
        yield line if whole and size <= limit + 2 else None


def _ends(line: str) -> bool:
    return line.endswith(("\n", "\r"))
