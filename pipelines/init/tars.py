"""The first records of a tar, grouped as a build groups them, and those that hold several images."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pipelines.init.columns import is_image_member
from pipelines.readers.records import parse_json
from schemas.columns import GUESSES, ReadLimits
from schemas.errors import RowError

Row = Mapping[str, object]

_TEXTS: Final = (*(name.lower() for name in GUESSES["caption"]), "json")
_LIMIT: Final = ReadLimits().record_bytes


def by_last_dot(rows: Sequence[Row]) -> list[Row]:
    """Returns the records with keys up to the last dot where the first dot would merge images, else as they are."""
    if not any(_merges(row) for row in rows):
        return list(rows)
    return [part for row in rows for part in _parts(row)]


def several_images(rows: Iterable[Row]) -> tuple[str, ...]:
    """Returns the suffixes of the images of the first record that holds several, the plainest first; else nothing."""
    found = (_images_of(row) for row in rows)
    several = next((names for names in found if len(names) > 1), [])
    return tuple(sorted(several, key=lambda name: (name.count("."), name)))


def _images_of(row: Row) -> list[str]:
    return [name for name, value in row.items() if is_image_member(name, value)]


def _merges(row: Row) -> bool:
    """Whether an image of the record has a text of its own, or several images share no text."""
    images = _images_of(row)
    stems = [name.rpartition(".")[0] for name in images if "." in name]
    if any(f"{stem}.{text}" in row for stem in stems for text in _TEXTS):
        return True
    has_record = any(not isinstance(value, bytes) for value in row.values())
    return bool(stems) and len(images) > 1 and not has_record and not any(text in row for text in _TEXTS)


def _parts(row: Row) -> list[Row]:
    """The records that a record becomes where its members' keys go up to the last dot."""
    parts: dict[str, dict[str, object]] = {}
    for name, value in row.items():
        stem, _, suffix = name.rpartition(".") if isinstance(value, bytes) else ("", "", name)
        part = parts.setdefault(stem, {})
        if suffix == "json" and isinstance(value, bytes):
            try:
                part.update(parse_json(value, _LIMIT))
            except RowError:  # the start of a longer record, or one that will be quarantined
                continue
        else:
            part[suffix] = value
    return list(parts.values())
