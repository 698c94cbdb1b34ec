"""What a page's parameters are drawn from: SynthDoG's published ranges, and milder ones.

The names and numbers of DEFAULT are those of `config_en.yaml` and `config_zh.yaml` of SynthDoG
(Kim et al., arXiv 2111.15664); docs/ocr.md lists what was changed and why.
"""

from dataclasses import dataclass, replace
from typing import Final

from schemas.errors import InputError

Span = tuple[float, float]
"""Lowest and highest value of an even draw."""

Percents = tuple[Span, Span, Span, Span]
"""How far the top, right, bottom and left edge of a document may shrink."""

_EDGE: Final = (0.75, 1.0)
_WHOLE: Final = (1.0, 1.0)
PERSPECTIVES: Final[tuple[tuple[int, Percents], ...]] = (
    (750, (_EDGE, _EDGE, _EDGE, _EDGE)),
    (50, (_EDGE, _WHOLE, _EDGE, _WHOLE)),
    (50, (_WHOLE, _EDGE, _WHOLE, _EDGE)),
    (25, (_EDGE, _WHOLE, _WHOLE, _WHOLE)),
    (25, (_WHOLE, _EDGE, _WHOLE, _WHOLE)),
    (25, (_WHOLE, _WHOLE, _EDGE, _WHOLE)),
    (25, (_WHOLE, _WHOLE, _WHOLE, _EDGE)),
    (50, (_WHOLE, _WHOLE, _WHOLE, _WHOLE)),
)
"""Weight and percents of each of the eight kinds of perspective."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Sizes in pixels, shares of a side, probabilities, or the effect's own unit."""

    short_side: Span = (720, 1024)
    aspect: Span = (1, 2)
    landscape: float = 0.5
    quality: Span = (50, 95)
    background_sigma: Span = (0, 10)
    full_screen: float = 0.5
    document_short_side: Span = (480, 1024)
    paper_alpha: Span = (0, 0.2)
    margin: Span = (0, 0.1)
    text_scale: Span = (0.0334, 0.1)
    min_line: int = 20  # pixels a line, our own floor: below it no reader tells Han characters apart
    max_rows: int = 10
    max_columns: int = 3
    fill: Span = (0.5, 1)
    full: float = 0.1
    stack_spacing: float = 0.0334
    stack_fill: Span = (0.5, 1)
    stack_full: float = 0.1
    box_fill: Span = (0.5, 1)
    box_colour: float = 0.2
    content_colour: float = 0.2
    gray: Span = (0, 64)
    elastic_alpha: Span = (0, 1)
    elastic_sigma: Span = (0, 0.5)
    noise: Span = (0, 8)
    perspectives: tuple[tuple[int, Percents], ...] = PERSPECTIVES
    tint: float = 0.2
    tint_alpha: Span = (0, 0.2)
    shadow: Span = (0, 160)
    shadow_amount: Span = (0, 1)
    shadow_smoothing: Span = (0.5, 1)
    contrast: Span = (1, 1.5)
    brightness: Span = (-48, 0)
    motion: float = 0.5
    motion_lengths: tuple[int, ...] = (3, 5)
    blur: Span = (0, 1.5)


DEFAULT: Final = Ranges()
_NEAR: Final = (0.92, 1.0)
MILD: Final = replace(
    DEFAULT,
    quality=(75, 95),
    min_line=24,
    elastic_alpha=(0, 0.5),
    noise=(0, 3),
    perspectives=((1, (_NEAR, _NEAR, _NEAR, _NEAR)), (1, (_WHOLE, _WHOLE, _WHOLE, _WHOLE))),
    tint_alpha=(0, 0.1),
    shadow=(0, 60),
    contrast=(1, 1.2),
    brightness=(-20, 0),
    motion=0,
    blur=(0, 0.6),
)
SETTINGS: Final = {"default": DEFAULT, "mild": MILD}


def ranges(setting: str) -> Ranges:
    """The ranges of a setting by name; InputError for a name that is none."""
    if setting not in SETTINGS:
        raise InputError(f"setting must be {' or '.join(SETTINGS)}, not {setting!r}")
    return SETTINGS[setting]
