"""A block of a recipe: frozen, strict, and switched on or off."""

from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator


class Settings(BaseModel):
    """A frozen block of a recipe in which an unknown key is an error."""

    # what is wrong may be a secret, and a traceback would quote it
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: object, info: ValidationInfo) -> object:
        """`on` and `off` are numbers to pydantic, and a threshold of 1 or 0 to nobody."""
        if isinstance(value, bool) and info.field_name is not None:
            wanted = cls.model_fields[info.field_name].annotation
            if {*(get_args(wanted) or (wanted,))} <= {int, float, NoneType}:
                raise ValueError("should be a number, not on or off (yes, no, true, false)")
        return value


def switch(block: type[Settings]) -> BeforeValidator:
    """Reads `off` as False and `on` as the block's defaults; what is wrong inside is told at its own key."""

    def read(value: Any) -> Any:
        if value is False:
            return False
        return block.model_validate({} if value is True else value)

    return BeforeValidator(read)
