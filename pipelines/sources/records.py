"""A record (a JSON object, a CSV line, a Parquet row) read through a column map."""

import json
import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, get_args

from pipelines.files import shown
from pipelines.sources.columns import Columns, Part
from schemas.errors import InputError, RowError
from schemas.plain import mended
from schemas.row import Value

_USUAL: Final = frozenset(("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "tif", "tiff"))
_OTHERS: Final = frozenset(
    ("avif", "heic", "heif", "jxl", "jp2", "svg", "ico", "ppm", "pgm", "tga", "psd", "img")
)
IMAGE_SUFFIXES: Final = _USUAL | _OTHERS
"""Suffixes that announce an image; of formats that cannot be used too, so that those rows are not lost."""


OWN: Final[tuple[Part, ...]] = ("id", "licence")
"""What a row says of where it comes from: carried among its further fields, under these names."""


@dataclass(slots=True)
class Fields:
    """What a record says beside the image."""

    caption: bytes | None = None
    url: str | None = None
    extra: dict[str, Value] = field(default_factory=dict)
    error: RowError | None = None


def parse_json(data: bytes, limit: int) -> dict[str, object]:
    """The JSON object in `data`; RowError `bad_row` if there is none, or it is larger than `limit`."""
    if len(data) > limit:
        raise RowError("bad_row", f"a record of more than {limit} bytes")
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_null)
    except UnicodeDecodeError as error:
        raise no_text() from error
    except (ValueError, RecursionError) as error:  # too deep, too many digits, bad JSON
        raise RowError("bad_row", f"the record is no JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise RowError("bad_row", "the record is JSON, but no object")
    return value


def no_text(encoding: str | None = None) -> RowError:
    """Returns what is wrong with a record whose bytes are no text in its encoding, with the remedy."""
    return RowError(
        "bad_row",
        f"the bytes are no text in {encoding or 'utf-8'}; name the encoding of the files in the recipe, for instance "
        "read: {encoding: latin-1} or read: {encoding: gb18030}",
    )


def is_text(value: str) -> bool:
    """Returns whether the value is text: without what stands for bytes that could not be decoded."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_utf8(data: bytes) -> bool:
    """Returns whether the bytes are text in UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(data: bytes, encoding: str | None) -> bytes:
    """Returns the text of a member in UTF-8: as stored, or from the encoding that the recipe names.

    RowError `bad_row` where the bytes are text in neither.
    """
    if is_utf8(data):
        return data
    try:
        return data.decode(encoding or "utf-8").encode()
    except UnicodeError as error:
        raise no_text(encoding) from error


def _null(_: str) -> None:
    """NaN and Infinity, which are no JSON, are no values."""


def fields_of(record: Mapping[str, object], columns: Columns) -> Fields:
    """Caption, URL and extra fields of a record; a value of a wrong type is a `bad_row`."""
    fields = Fields()
    try:
        for name in columns.names("extra"):
            if name in record:
                fields.extra[name] = _extra(name, record[name], columns)
        for part in OWN:
            value = _first(record, columns.names(part))
            if value is not None:
                fields.extra[part] = _extra(part, value, columns)
    except RowError as error:
        fields.error = error
    try:
        fields.url = _url(_first(record, columns.names("url")))
        fields.caption = _text(_first(record, columns.names("caption")))
    except RowError as error:
        fields.error = error
    return fields


def check_columns(
    where: object, there: Iterable[str], columns: Columns, needed: tuple[Part, ...] = ()
) -> None:
    """InputError if a column that the recipe names, or one of `needed`, is not among those there."""
    names = list(there)
    for part in get_args(Part):
        wanted = columns.names(part)
        if part == "extra":
            missing = [name for name in wanted if name not in names] if columns.required("extra") else []
        else:
            want = (columns.required(part) and part != "image") or part in needed
            missing = list(wanted) if want and not set(wanted) & set(names) else []
        if missing:
            raise InputError(missing_column(where, part, missing, names))


def twice(names: Sequence[str], wanted: Container[str]) -> str | None:
    """The first of the names that is wanted and stands there twice."""
    return next((name for name, times in Counter(names).items() if times > 1 and name in wanted), None)


IN_RECIPE: Final = "in the recipe's `columns`"
OF_LISTS: Final = (
    "in a recipe (columns, fetch.list, fetch.width, …; docs/fetch.md), or say whose list it is (--list)"
)
"""Where columns of sources, and those of lists of URLs, are named."""


def missing_column(where: object, part: str, wanted: Iterable[str], there: Iterable[str]) -> str:
    """Returns the sentence for a column that is not there; `part` says what it is for (`url`, `width`)."""
    there = list(there)
    names = sorted(map(mended, there))
    listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    hint = ""
    if part == "image":
        hint = "; for a list of images' URLs say `kind: urls` (docs/fetch.md), for text without images `kind: text`"
    if not all(map(is_text, there)):
        hint += f"; of the names {no_text().message}"
    return (
        f"{where} has no column {' or '.join(map(repr, wanted))} for the {part}; it has: {listed or 'none'}; "
        f"name the right one {OF_LISTS if part == 'url' else IN_RECIPE}{hint}"
    )


def _first(record: Mapping[str, object], names: Iterable[str]) -> object:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _text(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        # a lone surrogate (\ud800 in JSON) becomes bytes that are no UTF-8, as if stored so
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, int | float):
        return json.dumps(value).encode()
    remedy = "; write a record a caption" if isinstance(value, list) else ""
    raise RowError("bad_row", f"a caption of type {type(value).__name__}, not text{remedy}")


def _url(value: object) -> str | None:
    """The address as given; what is no Unicode in it is written out, for it must fit a column of text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace") or None
    if value is None or isinstance(value, str):
        return shown(value) if value else None
    raise RowError("bad_row", f"a URL of type {type(value).__name__}, not text")


def _extra(name: str, value: object, columns: Columns) -> Value:
    """A further field as it is carried; an object is null, but a RowError where the recipe itself names the field."""
    try:
        return _value(value)
    except RowError as error:
        if not columns.required("extra"):
            return None
        raise RowError("bad_row", f"the extra field {name!r} {error.message}") from error


def _value(value: object) -> Value:
    """A field as it is carried: text, number, boolean, null, or a list of these; RowError for an object."""
    if isinstance(value, list):
        return [_value(one) for one in value]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Decimal):
        value = int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int):
        return value
    raise RowError("bad_row", "holds an object, which no rule or score can use")
