"""What is a row's own in its views: its name, licence and further fields; and its image as it is stored."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from filters.extra import parsed
from schemas.sample import Example, Image

if TYPE_CHECKING:
    from pipelines.recipe.model import Source

LICENCES: Final = ("licence", "license", "LICENSE")
"""The fields of a row that hold its licence, as published datasets call them."""

_MEASURED: Final = ("format", "width", "height", "sha256", "original_sha256")


def stored_image(facts: Mapping[str, Any], url: str | None = None) -> Image:
    """Returns the image that was measured with these signals."""
    return Image(**{name: facts[name] for name in _MEASURED}, url=url)


def owned(example: Example, source: "Source", row: Mapping[str, Any]) -> Example:
    """Returns a view of a pair with what is its row's own: id, licence (else the source's) and further fields."""
    extra = dict(parsed(row["extra"]))
    id_ = extra.pop("id", None)
    named = [value for name in LICENCES if (value := extra.pop(name, None)) is not None]
    licence = str(named[0]).strip() if named else ""
    rest = {name: value for name, value in extra.items() if value is not None}
    return replace(
        example,
        id=None if id_ is None else str(id_),
        licence=licence or source.licence,
        extra=json.dumps(rest, sort_keys=True, ensure_ascii=False) if rest else None,
    )
