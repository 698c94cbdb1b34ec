"""How each defect of the demo crawl is put into a sound row."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from synth import bad_captions, bad_pictures, twins
from synth.rows import Row, says

Plant = Callable[[Row, random.Random], Row]


def _as_is(row: Row, rng: random.Random) -> Row:
    return row


PLANTS: Final[dict[str, Plant]] = {
    "none": _as_is,
    "html": bad_captions.html,
    "mojibake": bad_captions.mojibake,
    "turned": bad_pictures.turned,
    "translation": twins.translation,
    "no_caption": lambda row, rng: says(row, rng.choice((None, ""))),
    "special_tag": bad_captions.special_tag,
    "pattern": bad_captions.pattern,
    "short": bad_captions.short,
    "long": bad_captions.long,
    "script": bad_captions.script,
    "emoji": bad_captions.emoji,
    "language": _as_is,
    "aspect": bad_pictures.aspect,
    "small": bad_pictures.small,
    "blank": bad_pictures.blank,
    "mismatch": bad_captions.mismatch,
    "repeat": _as_is,
    "exact_dup": twins.exact_dup,
    "pixels_dup": twins.pixels_dup,
    "near_dup": twins.near_dup,
    "truncated": bad_pictures.truncated,
    "empty": lambda row, rng: replace(row, data=b""),
    "not_image": bad_pictures.not_image,
    "bomb": bad_pictures.bomb,
}
"""How each defect is put into a sound row; for twins the row is the other row's."""
