"""Columns that came with the data (`extra`): their values, and the rules over them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from filters.arrow import Bools
from filters.filter import Columns, Row, Rule
from schemas.settings import Settings, switch


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


Value = bool | int | float | str


class ColumnLimit(Settings):
    """What the values of one `extra` column may be: a range of numbers, or a list of values.

    Numbers in text are numbers, and `true` and `false` in text are booleans. What is no number is null
    to `min` and `max`.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    min: float | None = Field(None, description="the least number that passes")
    max: float | None = Field(None, description="the largest number that passes")
    one_of: tuple[Value, ...] | None = Field(None, alias="in", min_length=1, description="these values pass")
    not_in: tuple[Value, ...] | None = Field(None, min_length=1, description="these values fail")
    missing: Literal["drop", "keep"] = Field("drop", description="what becomes of a row without a value")

    @model_validator(mode="after")
    def _some(self) -> "ColumnLimit":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"nothing passes: min {self.min:g} is above max {self.max:g}")
        if not self.model_fields_set:
            raise ValueError("give min, max, in, not_in or missing, or switch the column's rule off")
        return self


class ColumnRules(Settings):
    """Drops rows by columns that came with the data: the column's name, and what its values may be.

    A row dropped by the column `punsafe` has the reason `columns.punsafe`. Columns are those that the
    source carries (columns: {extra: […]}).
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[ColumnLimit | Literal[False], switch(ColumnLimit)]] = Field(
        init=False
    )

    @property
    def limits(self) -> dict[str, ColumnLimit]:
        """The columns whose rule is on, with their limits, in the order given."""
        return {name: limit for name, limit in self.__pydantic_extra__.items() if limit is not False}


def _fails(columns: Columns, settings: ColumnRules, languages: Sequence[str]) -> Mapping[str, Bools]:
    """For each column which rows fail its limit."""
    rows = [parsed(text) for text in columns["extra"].to_pylist()] if settings.limits else []
    return {
        name: np.array([_beyond(row.get(name), limit) for row in rows], np.bool_)
        for name, limit in settings.limits.items()
    }


def _say(row: Row, settings: ColumnRules) -> str:
    """The first column that fails, with its value."""
    values = parsed(row["extra"])
    name = next(name for name, limit in settings.limits.items() if _beyond(values.get(name), limit))
    return f"{name} {json.dumps(values.get(name), ensure_ascii=False)}"


def _beyond(value: object, limit: ColumnLimit) -> bool:
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


RULE: Final = Rule("columns", ColumnRules, ("extra",), _fails, _say, on=False)
"""The reason names the column: `columns.NAME`."""
