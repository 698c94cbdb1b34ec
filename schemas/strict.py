"""Strict reading of JSON values: each function gives the value back as its type, or names what is wrong."""

import json
import math
from typing import Any


class FieldError(ValueError):
    """A value is not what its field must hold; the text names the field."""


def require(condition: bool, message: str) -> None:
    """Raises FieldError with `message` unless `condition` holds."""
    if not condition:
        raise FieldError(message)


def loads(line: str | bytes) -> Any:
    """Returns the value that `line` holds; NaN and infinities, which are no JSON, are refused."""
    try:
        return json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FieldError(f"not JSON: {error}") from error


def dumps(value: object) -> str:
    """Returns `value` as one line: sorted keys, characters as they are, the same value always the same text."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    require(is_unicode(line), "text holds half of a surrogate pair, which UTF-8 cannot write")
    return line


def is_unicode(text: str) -> bool:
    """Returns true where UTF-8 can write `text`: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def fields(value: Any, what: str, names: tuple[str, ...]) -> dict[str, Any]:
    """`value` as an object with exactly the fields `names`."""
    if isinstance(value, dict) and len(value) == len(names) and all(name in value for name in names):
        return value
    require(isinstance(value, dict), f"{what} must be an object")
    missing = sorted(set(names) - value.keys())
    require(not missing, f"{what} lacks the field {', '.join(missing)}")
    unknown = sorted(value.keys() - set(names))
    require(not unknown, f"{what} has the unknown field {', '.join(unknown)}")
    return dict(value)


def array(value: Any, what: str) -> list[Any]:
    """Returns `value` as an array."""
    require(isinstance(value, list), f"{what} must be an array")
    return list(value)


def string(value: Any, what: str) -> str:
    """Returns `value` as text that UTF-8 can write."""
    require(isinstance(value, str), f"{what} must be text")
    require(is_unicode(value), f"{what} holds half of a surrogate pair, which UTF-8 cannot write")
    return str(value)


def optional(value: Any, what: str) -> str | None:
    """Returns `value` as text that UTF-8 can write, or None where it is null."""
    return None if value is None else string(value, what)


def boolean(value: Any, what: str) -> bool:
    """Returns `value` as true or false."""
    require(isinstance(value, bool), f"{what} must be true or false")
    return bool(value)


def whole(value: Any, what: str) -> int:
    """Returns `value` as a whole number; true and false are none."""
    require(isinstance(value, int) and not isinstance(value, bool), f"{what} must be a whole number")
    return int(value)


def pixels(value: Any, what: str) -> float:
    """Returns `value` as a coordinate: a whole number as it is, any other finite one to two decimals."""
    # the types that nearly every coordinate has come first: datasets hold hundreds of millions
    if type(value) is float and math.isfinite(value):
        return round(value, 2) + 0.0
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FieldError(f"{what} must hold finite numbers, not {value!r}")
    # + 0.0 turns minus zero, which JSON would show, into zero
    return value if isinstance(value, int) else round(value, 2) + 0.0


def _no_constant(name: str) -> float:
    raise FieldError(f"{name} is no JSON number")
