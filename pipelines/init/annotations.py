"""Which published annotation format a file has, as far as its first and last bytes tell."""

import json
from collections.abc import Collection
from typing import Final

from pipelines.files import Store
from schemas.recipe import Format

_READ: Final = 64 * 1024

_LINES: Final[tuple[tuple[Format, frozenset[str]], ...]] = (
    ("conversations_lines", frozenset(("conversations",))),
    ("conversations_lines", frozenset(("messages",))),
    ("mmc4", frozenset(("text_list", "image_info"))),
    ("obelics", frozenset(("images", "texts"))),
    ("grit", frozenset(("noun_chunks", "ref_exps"))),
    ("grounding", frozenset(("caption", "phrases"))),
)
"""Formats of JSON lines, and the fields that each record of one has."""


def format_of_lines(fields: Collection[str]) -> Format | None:
    """Returns the annotation format whose records have these fields; None where they are no format's."""
    return next((form for form, needed in _LINES if needed <= set(fields)), None)


def format_of_json(store: Store, path: str) -> Format | None:
    """Returns the annotation format of a JSON document or of JSON lines; None where the ends do not tell."""
    size = store.info(path).size
    with store.open(path) as file, store.reading(path):
        first = file.read(_READ)
        file.seek(max(size - _READ, 0))
        ends = first + file.read(_READ)
    begin = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"["):
        return "conversations" if b'"conversations"' in first or b'"messages"' in first else None
    if form := format_of_lines(_fields(begin.partition(b"\n")[0])):
        return form
    if b'"images"' not in ends and b'"annotations"' not in ends:
        return None
    if b'"bbox"' in ends or b'"supercategory"' in ends:
        return "coco_instances"
    return "coco_captions" if b'"caption"' in ends else None


def _fields(line: bytes) -> Collection[str]:
    """The names of a JSON object's fields; none where the line is no object."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # a document of several lines, or one that is cut
        return ()
    return found.keys() if isinstance(found, dict) else ()
