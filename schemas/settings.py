"""A block of a recipe: frozen, strict, and switched on or off."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Settings(BaseModel):
    """A frozen block of a recipe in which an unknown key is an error."""

    # what is wrong may be a secret, and a traceback would quote it
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


def switch(block: type[Settings]) -> BeforeValidator:
    """Reads `off` as False and `on` as the block's defaults; what is wrong inside is told at its own key."""

    def read(value: Any) -> Any:
        if value is False:
            return False
        return block.model_validate({} if value is True else value)

    return BeforeValidator(read)
