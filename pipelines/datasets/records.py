"""Annotation files as records: JSON lines, and JSON files read whole."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final, TypeVar

from pipelines.datasets.dataset import Files, Record
from pipelines.datasets.reasons import Refusal
from schemas.errors import ShardError

T = TypeVar("T")

MAX_RECORD: Final = 16 * 1024 * 1024
"""Bytes of one line."""

_HEAD: Final = 4096
"""Bytes at the start of a file that tell a list from lines."""

_OPENS: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*(?:\{|\Z)|\{\s*\Z)")
"""The first line of a JSON document that is a list of objects, or an object over many lines."""


def lines(files: Files) -> Iterator[Record]:
    """Returns one record a line of a dataset of JSON lines."""
    return jsonl(files["records"])


def entries_or_lines(files: Files) -> Iterator[Record]:
    """Returns one record an entry of a JSON list, or one a line of JSON lines, whichever the file is."""
    file = files["records"]
    start = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    file.seek(0)
    if start.startswith(b"[") or _OPENS.match(start.partition(b"\n")[0]):
        yield from each(listed(document(files), "the file"))
    else:
        yield from jsonl(file)


def document(files: Files, part: str = "records") -> Any:
    """Returns the JSON value that is the whole of one file."""
    return load(files[part].read(), part)


def entries(where: str, *path: str, ids: tuple[str, ...] = ()) -> Callable[[Files], Iterator[Record]]:
    """Returns a reader of one record an entry of the list at `path` of a JSON document, named as by `each`."""
    return lambda files: each(listed(document(files), where, *path), *ids)


def jsonl(lines: Iterable[bytes]) -> Iterator[Record]:
    """Returns one record a line, named by the number of its line from 0; empty lines are none.

    ShardError where the lines are one JSON document.
    """
    numbered = ((number, line) for number, line in enumerate(lines) if line and not line.isspace())
    head = list(islice(numbered, 2))
    if head and _OPENS.match(head[0][1]):
        refusal = _line("", head[0][1]).refusal
        if len(head) == 1 or (refusal and refusal.reason == "bad_json"):
            raise ShardError(
                "records is one JSON document, not a record a line; for conversations say format: conversations, "
                "for another format make lines of it (jq -c '.[]' FILE > FILE.jsonl)"
            )
    for number, line in chain(head, numbered):
        yield _line(str(number), line)


def jsonl_from(lines: Iterable[bytes], first: int) -> Iterator[Record]:
    """One record a line of the middle of a file, named by the number of its line; the first is number `first`."""
    return (_line(str(number), line) for number, line in enumerate(lines, first) if not line.isspace())


def load(data: bytes, where: str) -> Any:
    """Returns the JSON value that is the whole of `data`; ShardError, naming `where`, if it is not."""
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise ShardError(f"{where} {_goes_on(error)}") from error
        raise ShardError(f"{where} is not JSON: {error}; fetch it again") from error
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{where} is not JSON that can be read ({type(error).__name__})") from error


def listed(value: object, where: str, *path: str) -> list[Any]:
    """Returns the list at `path` inside a JSON value; ShardError if there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, list):
        place = ".".join(path) or "the top"
        raise ShardError(f"{where} has no list at {place}; is it the file that the source expects?")
    return value


def mapped(value: object, where: str) -> dict[str, Any]:
    """Returns a JSON value as an object; ShardError if it is none."""
    if not isinstance(value, dict):
        raise ShardError(f"{where} is no JSON object; is it the file that the source expects?")
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


def _goes_on(error: json.JSONDecodeError) -> str:
    """Returns what is wrong with text that goes on after a JSON value, and the remedy."""
    another_line = error.doc[: error.pos].rstrip(" \t").endswith("\n")
    if another_line and error.doc.startswith("{", error.pos):
        return (
            "is JSON lines, a record a line, not one JSON document; for conversations say format: "
            "conversations_lines, for another format make a list of them (jq -s . FILE > FILE.json)"
        )
    return f"goes on after its JSON ends, at character {error.pos}; cut it there"


def _line(member: str, line: bytes) -> Record:
    if len(line) > MAX_RECORD:
        return Record(member, {}, Refusal("too_large", f"a line of {len(line)} bytes"))
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        reason = "trailing_garbage" if error.msg == "Extra data" else "bad_json"
        return Record(member, {}, Refusal(reason, f"{error.msg} at character {error.pos}"))
    except (ValueError, RecursionError) as error:
        return Record(member, {}, Refusal("bad_json", f"unreadable ({type(error).__name__})"))
    if not isinstance(value, dict):
        return Record(member, {}, Refusal("bad_record", "the record is no JSON object"))
    return Record(member, value)
