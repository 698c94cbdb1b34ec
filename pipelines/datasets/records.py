"""Annotation files as records: JSON lines, JSON lists, and JSON files read whole, in UTF-8, UTF-16 or UTF-32."""

import io
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar, cast

from pipelines.datasets.dataset import Files, Record
from pipelines.datasets.reasons import Refusal
from schemas.errors import ShardError

T = TypeVar("T")

MAX_RECORD: Final = 16 * 1024 * 1024
"""Bytes of one line."""

_HEAD: Final = 64 * 1024
"""Bytes of a file that show whether it begins with a list."""

_BOM: Final = b"\xef\xbb\xbf"
_DECODER: Final = json.JSONDecoder()
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_OPENS: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*(?:\{|\Z)|\{\s*\Z)")
"""The first line of a JSON document that is a list of objects, or an object over many lines."""
_OTHERS: Final = {
    b"PAR1": ("Parquet", "name a file of JSON"),
    b"\x1f\x8b": ("packed (gzip)", "unpack it (gunzip FILE)"),
    b"PK\x03\x04": ("packed (ZIP)", "unpack it (unzip FILE)"),
    b"\x28\xb5\x2f\xfd": ("packed (Zstandard)", "unpack it (zstd -d FILE)"),
    b"\x89PNG": ("an image", "name the file of annotations"),
    b"\xff\xd8\xff": ("an image", "name the file of annotations"),
}
"""By the first bytes of files that are no JSON, what they are and the remedy."""


class FileError(ShardError):
    """A file of a dataset cannot be read, or no further: `part` is which, `what` what is wrong with it."""

    def __init__(self, part: str, what: str, remedy: str) -> None:
        super().__init__(f"{part} {what}; {remedy}")
        self.part = part
        self.what = what
        self.remedy = remedy


def lines(files: Files) -> Iterator[Record]:
    """Returns one record a line of a dataset of JSON lines."""
    return jsonl(in_utf8(files["records"]))


def entries_or_lines(*fields: str) -> Callable[[Files], Iterator[Record]]:
    """Returns a reader of one record an entry of a JSON list, one a line, or one a value where they follow each other.

    A record has one of `fields`. FileError where the file is one object that has none, but lists of objects.
    """

    def read(files: Files) -> Iterator[Record]:
        file = files["records"]
        is_list = _is_list(file)
        records = jsonl(in_utf8(file)) if _is_lines(file) else each(_values(file.read(), "records"))
        first = next(records, None)
        if first is None:
            return
        if is_list or first.value.keys() & set(fields):
            yield first
        else:
            yield from _alone_or_first(first, records)
        yield from records

    return read


class Document(NamedTuple):
    """The JSON value of a file; of one that is damaged what is whole before its damage.

    `cut` is the name of the list in which the damage begins, and which has its whole entries alone.
    """

    value: Any
    damage: FileError | None = None
    cut: str | None = None


@contextmanager
def document(files: Files, part: str = "records") -> Iterator[Document]:
    """Gives the one JSON value of a file, and raises FileError at the end where the file is damaged."""
    found = _document(files[part].read(), part)
    try:
        yield found
    except FileError as error:  # what is whole is not enough
        raise found.damage or error from None
    if found.damage is not None:
        raise found.damage


def entries(*path: str, ids: tuple[str, ...] = ()) -> Callable[[Files], Iterator[Record]]:
    """Returns a reader of one record an entry of the list at `path` of a JSON document, named as by `each`."""

    def read(files: Files) -> Iterator[Record]:
        with document(files) as found:
            yield from each(listed(found.value, "records", *path), *ids)

    return read


def is_utf8(file: BinaryIO) -> bool:
    """Returns whether the file's first bytes are those of JSON in UTF-8, and goes back to its start."""
    return _encoding(file) in ("utf-8", "utf-8-sig")


def in_utf8(file: BinaryIO) -> Iterable[bytes]:
    """Returns the lines of a file in UTF-8: as stored, or from the UTF-16 or UTF-32 that its first bytes show."""
    encoding = _encoding(file)
    return file if encoding.startswith("utf-8") else _decoded(file, encoding)


def jsonl(lines: Iterable[bytes]) -> Iterator[Record]:
    """Returns one record a line, named by the number of its line from 0; empty lines are none.

    Of a line N with several objects one behind the other each is a record: N, N.2, N.3, and so on. FileError where
    the lines are one JSON document, JSON over many lines, or no text.
    """
    numbered = ((number, line) for number, line in enumerate(lines) if line and not line.isspace())
    head = list(islice(numbered, 2))
    if head:
        _check_no_other(head[0][1], "records")
    if head and _OPENS.match(head[0][1]):
        refusal = _line("", head[0][1]).refusal
        if len(head) == 1 or (refusal and refusal.reason == "bad_json"):
            is_list = head[0][1].lstrip(_BOM).lstrip().startswith(b"[")
            raise FileError(
                "records",
                f"is {'one JSON list' if is_list else 'JSON over many lines'}, not a record a line",
                f"make lines of it (jq -c '{'.[]' if is_list else '.'}' FILE > FILE.jsonl)",
            )
    for number, line in chain(head, numbered):
        yield from _of_line(number, line)


def jsonl_from(lines: Iterable[bytes], first: int) -> Iterator[Record]:
    """Yields the records of lines from the middle of a file, named as by `jsonl`; the first is number `first`."""
    for number, line in enumerate(lines, first):
        if not line.isspace():
            yield from _of_line(number, line)


def load(data: bytes, part: str) -> Any:
    """Returns the JSON value that is the whole of `data`; FileError, of the file `part`, if it is not."""
    _check_no_other(data, part)
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise FileError(part, *_goes_on(error)) from error
        raise _no_json(part, error) from error
    except (ValueError, RecursionError) as error:
        raise _no_json(part, error) from error


def _document(data: bytes, part: str) -> Document:
    """Returns the JSON value that is the whole of `data`, or what is whole before it breaks off."""
    try:
        return Document(load(data, part))
    except FileError as error:
        text, bad = _text(data)
        at = _blank(text, 0)
        goes_on = isinstance(error.__cause__, json.JSONDecodeError) and error.__cause__.msg == "Extra data"
        if goes_on or text[at : at + 1] not in ("[", "{"):
            raise
        damage = error if bad is None else _no_json(part, bad)
        if text[at] == "[":
            return Document(_whole_entries(text, at + 1)[0], damage)
        members, cut = _whole_members(text, at + 1)
        return Document(members, damage, cut)


def _whole_entries(text: str, at: int) -> tuple[list[Any], int | None]:
    """Returns the whole entries of the list whose inside begins at `at`, and where it ends; None: it breaks off."""
    found, entries = [], _entries(text, at)
    try:
        while True:
            found.append(next(entries))
    except StopIteration as ended:
        return found, ended.value
    except (ValueError, RecursionError):
        return found, None


def _whole_members(text: str, at: int) -> tuple[dict[str, Any], str | None]:
    """Returns the members, before one that breaks off, of the object whose inside begins at `at`.

    Of a list that breaks off it has the whole entries, and its name is returned too.
    """
    found: dict[str, Any] = {}
    with suppress(ValueError, RecursionError):
        while text[(at := _blank(text, at)) : at + 1] == '"':
            name, at = _DECODER.raw_decode(text, at)
            at = _blank(text, _blank(text, at) + 1)
            if text[at : at + 1] == "[":
                found[name], end = _whole_entries(text, at + 1)
                if end is None:
                    return found, name
                at = end
            else:
                found[name], at = _DECODER.raw_decode(text, at)
            at = _blank(text, at) + 1
    return found, None


def listed(value: object, part: str, *path: str) -> list[Any]:
    """Returns the list at `path` inside the JSON value of the file `part`; FileError if there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, list):
        place = ".".join(path) or "the top"
        raise FileError(part, f"has no list at {place}", _EXPECTED)
    return value


def mapped(value: object, part: str) -> dict[str, Any]:
    """Returns the JSON value of the file `part` as an object; FileError if it is none."""
    if not isinstance(value, dict):
        raise FileError(part, "is no JSON object", _EXPECTED)
    return value


def by_id(values: Iterable[Any], field: str = "id") -> dict[Any, Mapping[str, Any]]:
    """Returns objects by their id; those without a usable one are left out."""
    found = {}
    for value in values:
        if isinstance(value, Mapping) and isinstance(value.get(field), int | str):
            found[value[field]] = value
    return found


def joined(found: Mapping[Any, T], key: object) -> T | None:
    """Returns what is found by that id, which may be no id at all; None where there is nothing."""
    return found.get(key) if isinstance(key, int | str) else None


def each(values: Iterable[Any], *ids: str) -> Iterator[Record]:
    """Returns a record for each value, named by the first of `ids` that it has, else by its number from 0."""
    for number, value in enumerate(values):
        if not isinstance(value, Mapping):
            yield Record(f"record-{number}", {}, Refusal("bad_record", "the record is no JSON object"))
            continue
        found = next((value[name] for name in ids if isinstance(value.get(name), int | str)), None)
        yield Record(f"record-{number}" if found is None else str(found), value)


_EXPECTED: Final = "name the file that the format is read from"


def _alone_or_first(first: Record, others: Iterator[Record]) -> Iterator[Record]:
    """Yields a record without the fields of one, and the next; FileError where it is the whole file and holds lists."""
    try:
        second = next(others, None)
    except FileError:
        yield first
        raise
    if second is None:
        _check_unwrapped(first.value)
    yield first
    if second is not None:
        yield second


def _is_list(file: BinaryIO) -> bool:
    """Returns whether a file of JSON begins with a list; goes back to the start."""
    start = file.read(_HEAD)
    file.seek(0)
    return _stripped(start, json.detect_encoding(start)).startswith("[")


def _is_lines(file: BinaryIO) -> bool:
    """Returns whether records are lines, not entries of a list or values over many lines; goes back to the start."""
    first = next((line for line in in_utf8(file) if line and not line.isspace()), b"")
    file.seek(0)
    if first.lstrip(_BOM).lstrip().startswith(b"[") or _OPENS.match(first) or len(first) > MAX_RECORD:
        return False
    if _line("", first).refusal is None:
        return True
    start = file.read(MAX_RECORD)
    file.seek(0)
    try:
        end = _DECODER.raw_decode(_stripped(start, json.detect_encoding(start)))[1]
    except (ValueError, RecursionError):  # the first line is a bad one among others
        return True
    return end <= len(_stripped(first, "utf-8"))


def _stripped(data: bytes, encoding: str) -> str:
    return data.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")


def _values(data: bytes, part: str) -> Iterator[Any]:
    """Yields JSON values that follow each other, of a list its entries; FileError where they break off."""
    _check_no_other(data, part)
    text, bad = _text(data)
    try:
        at, done = _blank(text, 0), False
        while at < len(text) or not done:
            if text[at : at + 1] == "[":
                at = yield from _entries(text, at + 1)
            elif done and text[at] != "{":
                raise FileError(part, f"goes on after its JSON ends, at character {at}", "cut it there")
            else:
                value, at = _DECODER.raw_decode(text, at)
                yield value
            at, done = _blank(text, at), True
    except (ValueError, RecursionError) as error:
        raise _no_json(part, bad or error) from error
    if bad is not None:
        raise _no_json(part, bad) from bad


def _text(data: bytes) -> tuple[str, UnicodeDecodeError | None]:
    """Returns a file of JSON as text, up to bytes that are none, and what is wrong with these."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogatepass"), None
    except UnicodeDecodeError as error:
        return data[: error.start].decode(encoding, "surrogatepass"), error


def _entries(text: str, at: int) -> Generator[Any, None, int]:
    """Yields the entries of the list whose inside begins at `at`; returns where it ends."""
    at = _blank(text, at)
    while text[at : at + 1] != "]":
        value, at = _DECODER.raw_decode(text, at)
        yield value
        at = _blank(text, at)
        if text[at : at + 1] == ",":
            at = _blank(text, at + 1)
            if text[at : at + 1] != "]":
                continue
        elif text[at : at + 1] == "]":
            break
        raise json.JSONDecodeError("Expecting an entry or the end of the list", text, at)
    return at + 1


def _blank(text: str, at: int) -> int:
    """Returns where the white space that begins at `at` ends."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _check_unwrapped(value: Mapping[str, Any]) -> None:
    """Raises FileError where an object that is no record holds lists of objects, which may be the records."""
    names = [
        str(name) for name, one in value.items() if isinstance(one, list) and one and isinstance(one[0], dict)
    ]
    if names:
        raise FileError(
            "records",
            f"has no list at the top, but at {' and '.join(names[:5])}",
            f"take it out (jq .{names[0]} FILE > NEW.json)",
        )


def _check_no_other(data: bytes, part: str) -> None:
    """Raises FileError where the first bytes are those of a file that is no JSON."""
    for first, (what, remedy) in _OTHERS.items():
        if data.startswith(first):
            raise FileError(part, f"is {what}, not JSON", remedy)


def _no_json(part: str, error: Exception) -> FileError:
    """Returns the error of a file that is no JSON."""
    if isinstance(error, UnicodeDecodeError):
        what = f"is no text in {error.encoding}: {error.reason} at byte {error.start}"
        return FileError(part, what, "write it again in UTF-8 (iconv -f ENCODING -t UTF-8 FILE > NEW.json)")
    if isinstance(error, json.JSONDecodeError):
        empty = not error.doc.strip("\ufeff \t\r\n")
        return FileError(part, "is empty" if empty else f"is not JSON: {error}", "fetch it again")
    return FileError(part, f"is not JSON that can be read ({type(error).__name__})", "fetch it again")


def _goes_on(error: json.JSONDecodeError) -> tuple[str, str]:
    """Returns what is wrong with text that goes on after a JSON value, and the remedy."""
    another_line = error.doc[: error.pos].rstrip(" \t").endswith("\n")
    if another_line and error.doc.startswith("{", error.pos):
        return (
            "is JSON lines or values one after another, not one JSON document",
            "make a list of them (jq -s . FILE > NEW.json)",
        )
    return f"goes on after its JSON ends, at character {error.pos}", "cut it there"


def _encoding(file: BinaryIO) -> str:
    """Returns the encoding that the first bytes of JSON show, and goes back to the file's start."""
    start = file.read(4)
    file.seek(0)
    return json.detect_encoding(start)


def _decoded(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yields the lines of a file of another encoding in UTF-8; FileError where bytes are no text in it."""
    text = io.TextIOWrapper(cast(Any, file), encoding, newline="\n")
    try:
        for line in text:
            yield line.encode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise _no_json("records", error) from error
    finally:
        text.detach()


def _of_line(number: int, line: bytes) -> Iterator[Record]:
    first = _line(str(number), line)
    several = _objects(line) if first.refusal and first.refusal.reason == "trailing_garbage" else []
    for place, value in enumerate(several, 1):
        yield Record(str(number) if place == 1 else f"{number}.{place}", value)
    if not several:
        yield first


def _objects(line: bytes) -> list[dict[str, Any]]:
    """Returns the objects that a line holds one behind the other; none where it holds anything else."""
    text, _ = _text(line)
    found, at = [], _blank(text, 0)
    try:
        while at < len(text):
            value, at = _DECODER.raw_decode(text, at)
            if not isinstance(value, dict):
                return []
            found.append(value)
            at = _blank(text, at)
    except (ValueError, RecursionError):  # `_line` says what is wrong
        return []
    return found


def _line(member: str, line: bytes) -> Record:
    if len(line) > MAX_RECORD:
        return Record(member, {}, Refusal("too_large", f"a line of {len(line)} bytes"))
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        reason = "trailing_garbage" if error.msg == "Extra data" else "bad_json"
        return Record(member, {}, Refusal(reason, f"{error.msg} at character {error.pos}"))
    except UnicodeDecodeError as error:
        text = f"the line is no text in UTF-8: {error.reason} at byte {error.start}"
        return Record(member, {}, Refusal("bad_json", text))
    except (ValueError, RecursionError) as error:
        return Record(member, {}, Refusal("bad_json", f"unreadable ({type(error).__name__})"))
    if not isinstance(value, dict):
        return Record(member, {}, Refusal("bad_record", "the record is no JSON object"))
    return Record(member, value)
