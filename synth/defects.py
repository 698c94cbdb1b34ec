"""How each defect of the demo crawl is put into a sound row."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from synth.rows import Row, says

Plant = Callable[[Row, random.Random], Row]


def _as_is(row: Row, rng: random.Random) -> Row:
    return row


PLANTS: Final[dict[str, Plant]] = {
    "none": _as_is,
    "html": html,
    "mojibake": mojibake,
    "turned": turned,
    "translation": translation,
    "no_caption": lambda row, rng: says(row, rng.choice((None, ""))),
    "special_tag": special_tag,
    "pattern": pattern,
    "short": short,
    "long": long,
    "script": script,
    "emoji": emoji,
    "language": _as_is,
    "aspect": aspect,
    "small": small,
    "blank": blank,
    "mismatch": mismatch,
    "repeat": _as_is,
    "exact_dup": exact_dup,
    "pixels_dup": pixels_dup,
    "near_dup": near_dup,
    "truncated": truncated,
    "empty": lambda row, rng: replace(row, data=b""),
    "not_image": not_image,
    "bomb": bomb,
}
"""How each defect is put into a sound row; for twins the row is the other row's."""
