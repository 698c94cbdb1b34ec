"""Which rules apply to a source, by its kind.

To pairs all that are on. To the other kinds those of the recipe that are general (languages, images), and
more where the source itself names them; never a rule whose signal rows of that kind cannot have.
"""

from collections.abc import Collection
from typing import Final

from filters.table import RuleSettings

_CAPTIONS: Final = ("special_tag", "pattern", "caption_length", "script", "emoji")
_IMAGES: Final = ("aspect_ratio", "min_side", "blank", "orientation")
_DUPLICATES: Final = ("exact", "pixels", "phash")

GENERAL: Final[dict[str, frozenset[str]]] = {
    # clip: by a score that came with the data
    "text": frozenset(("no_caption", "language", "columns", "clip", "repeat")),
    "annotations": frozenset(("language", *_IMAGES, "repeat")),
    "rendered": frozenset((*_IMAGES, "repeat")),
}
"""Kind of source -> the recipe's rules that apply to it; a kind that is not here is one of pairs."""

NAMED: Final[dict[str, frozenset[str]]] = {
    "text": frozenset(_CAPTIONS),
    "annotations": frozenset((*_CAPTIONS, "columns", *_DUPLICATES)),
    "rendered": frozenset(_DUPLICATES),
}
"""Kind of source -> the further rules that apply where the source names them."""


def is_pairs(kind: str) -> bool:
    """Returns whether the rows of sources of a kind are images with their captions."""
    return kind not in GENERAL


def applying(kind: str, named: Collection[str]) -> frozenset[str]:
    """Returns the rules that can apply to a source of a kind that names some in its own `rules`."""
    if is_pairs(kind):
        return frozenset(RuleSettings.model_fields)
    return GENERAL[kind] | (NAMED[kind] & frozenset(named))
