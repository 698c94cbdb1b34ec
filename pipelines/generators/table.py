"""The one list of generators, and what a recipe's `format:` and `render:` make of it."""

from typing import Annotated, Any, Final

from pydantic import SerializeAsAny, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from pipelines.generators import Generator, RenderSettings
from pipelines.generators.documents import HTML, PDF
from pipelines.generators.scenes import SCENES
from pipelines.generators.text import OCR, SCENE_TEXT
from schemas import plugins
from schemas.errors import RecipeError
from schemas.plugins import GENERATORS, Plugin

TABLE: Final[dict[str, Generator]] = {one.name: one for one in (OCR, SCENE_TEXT, SCENES, PDF, HTML)}

Render = Annotated[
    SerializeAsAny[RenderSettings | None],
    WithJsonSchema(
        {"anyOf": [*(one.settings.model_json_schema() for one in TABLE.values()), {"type": "null"}]}
    ),
]
"""A source's block `render`: the settings of its generator."""


def lookup(name: str) -> tuple[Generator, Plugin | None]:
    """Returns the generator of that name, and the package that brings it, None for ours. Raises RecipeError."""
    one, plugin = plugins.lookup(GENERATORS, name, TABLE, Generator)
    if one.name != name:
        raise RecipeError(
            f"the generator {name!r} calls itself {one.name!r}: its entry point must bear the same name"
        )
    return one, plugin


def settings_of(name: str, value: Any) -> RenderSettings:
    """Returns a source's block `render` as the generator's settings. Raises ValidationError, which names its keys."""
    model = lookup(name)[0].settings
    if isinstance(value, RenderSettings):
        return value
    text = f"format {name} has no such setting; it has {', '.join(model.model_fields)}"
    strange: list[InitErrorDetails] = [
        {
            "type": PydanticCustomError("no_such_setting", "{text}", {"text": text}),
            "loc": (key,),
            "input": None,
        }
        for key in (value if isinstance(value, dict) else ())
        if key not in model.model_fields
    ]
    if strange:
        raise ValidationError.from_exception_data(model.__name__, strange)
    return model.model_validate({} if value is None else value)
