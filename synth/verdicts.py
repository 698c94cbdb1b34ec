"""What is planted in the demo crawl, how often, and which rule ought to say so. One defect a row."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a defect calls for: a rule that drops it, an error that quarantines it, or neither (kept).

    `also` are rules that may fail with it without being wrong; `weight` is its share of the rows in
    thousandths.
    """

    weight: int
    rule: str | None = None
    error: str | None = None
    also: tuple[str, ...] = ()


_COPIES = ("exact", "pixels", "phash")

SAYS: Final[dict[str, Verdict]] = {
    "none": Verdict(0),
    "html": Verdict(30),
    "mojibake": Verdict(20),
    "turned": Verdict(15),
    "translation": Verdict(15),
    "no_caption": Verdict(10, "no_caption", also=("caption_length",)),
    "special_tag": Verdict(20, "special_tag"),
    "pattern": Verdict(25, "pattern", also=("caption_length", "no_caption", "language")),
    "short": Verdict(15, "caption_length", also=("language", "pattern")),
    "long": Verdict(15, "caption_length", also=("pattern",)),
    "script": Verdict(20, "script", also=("language",)),
    "emoji": Verdict(25, "emoji"),
    "language": Verdict(60, "language", also=("script",)),
    "aspect": Verdict(25, "aspect_ratio", also=("min_side",)),
    "small": Verdict(25, "min_side"),
    "blank": Verdict(15, "blank", also=(*_COPIES, "clip")),
    "mismatch": Verdict(60, "clip"),
    "repeat": Verdict(20, "repeat", also=_COPIES),
    "exact_dup": Verdict(25, "exact", also=_COPIES),
    "pixels_dup": Verdict(20, "pixels", also=("pixels", "phash")),
    "near_dup": Verdict(40, "phash"),
    "truncated": Verdict(7, error="truncated"),
    "empty": Verdict(6, error="empty"),
    "not_image": Verdict(6, error="not_image"),
    "bomb": Verdict(5, error="too_many_pixels"),
}
"""Every defect by name, in the order of the rules; `none` takes what the others leave."""

TWINS: Final = ("translation", "repeat", "exact_dup", "pixels_dup", "near_dup")
"""Defects that are a second row of another row's picture."""
