"""Columns that came with the data (`extra`): their values, and the rules over them."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from filters.arrow import Bools
from schemas.rules import ColumnLimit, Value


def parsed(extra: str | None) -> dict[str, Any]:
    """The columns of one row, by name."""
    return dict(json.loads(extra)) if extra else {}


def number(value: object) -> float | None:
    """A value as a number, which text may hold too; None for all else, and for what is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def failures(extras: Any, limits: Mapping[str, ColumnLimit]) -> dict[str, Bools]:
    """For each column, as `columns.NAME`, which rows fail its limit."""
    rows = [parsed(text) for text in extras.to_pylist()]
    return {
        f"columns.{name}": np.array([_fails(row.get(name), limit) for row in rows], np.bool_)
        for name, limit in limits.items()
    }


def _fails(value: object, limit: ColumnLimit) -> bool:
    if limit.min is not None or limit.max is not None:
        found = number(value)
        if found is None:
            return limit.missing == "drop"
        if found < (limit.min if limit.min is not None else -math.inf):
            return True
        if found > (limit.max if limit.max is not None else math.inf):
            return True
    plain = _plain(value)
    if plain is None:
        return limit.missing == "drop"
    if limit.not_in is not None and plain in [_plain(one) for one in limit.not_in]:
        return True
    return limit.one_of is not None and plain not in [_plain(one) for one in limit.one_of]


def _plain(value: object) -> Value | tuple[str, float] | None:
    """A value such that equal ones are equal whether text or not; None for what is null or no scalar."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    if isinstance(value, bool) or value is None:
        return value
    found = number(value)
    # not 1.0 itself, which Python holds for equal to True
    if found is not None:
        return "number", found
    return value if isinstance(value, str) else None
