"""Emoji in a caption, and the rule over their number."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import regex  # type: ignore[import-untyped]
from pydantic import Field

from filters.arrow import array, bools, matching, pc, some
from filters.filter import Filter, Rule
from schemas.settings import Settings

# a flag, a keycap, or a pictograph shown as a picture with its skin tones, tags and joined others
_PICTURE: Final = (
    r"(?:(?!\p{Regional_Indicator})\p{Emoji_Presentation}(?!\ufe0e)\ufe0f?|\p{Extended_Pictographic}(?:\ufe0f|(?=\p{Emoji_Modifier})))"
    r"\p{Emoji_Modifier}?[\U000e0020-\U000e007f]*"
)
_EMOJI: Final = regex.compile(
    rf"\p{{Regional_Indicator}}{{2}}|[0-9#*]\ufe0f?\u20e3|{_PICTURE}(?:\u200d(?:{_PICTURE}|\p{{Extended_Pictographic}}\ufe0f?))*"
)
_MAYBE_EMOJI: Final = r"[\x{20e3}\x{fe0f}\x{231a}-\x{2bff}\x{1f000}-\x{1faff}]"


def measure(rows: pa.RecordBatch) -> dict[str, Any]:
    """The column `emoji`: of the raw caption, or of the cleaned one where entities hid more."""
    raw, clean = (_count(rows[name]) for name in ("caption_raw", "caption"))
    return {"emoji": pc.max_element_wise(raw, clean)}


def _count(texts: pa.StringArray) -> Any:
    """The number of emoji sequences in each text; null where it is."""
    wide = np.flatnonzero(~bools(pc.string_is_ascii(texts)))
    rows = matching(texts, _MAYBE_EMOJI, rows=wide)
    counts = np.zeros(len(texts), np.int32)
    counts[rows] = [sum(1 for _ in _EMOJI.finditer(text)) for text in some(texts, rows).to_pylist()]
    return array(counts, pa.int32(), bools(texts.is_null()))


class Emoji(Settings):
    """Drops captions with emoji."""

    max: int = Field(0, ge=0, le=1_000_000, description="so many emoji pass")


FILTER: Final = Filter(
    name="emoji",
    version=1,
    columns={"emoji": pa.int32()},
    batch=lambda _: measure,
    libraries=("pyarrow", "regex"),
    rules=(
        Rule(
            "emoji",
            Emoji,
            ("emoji",),
            lambda columns, rule, _: pc.greater(columns["emoji"], rule.max),
            lambda row, rule: f"{row['emoji']} emoji > {rule.max}",
            after="script",
            about="caption",
            paper="paper",
        ),
    ),
)
