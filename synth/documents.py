"""Pages of real documents and the paper's rules over them, whether PDF or HTML.

The rules are those of Qwen-VL's appendix A.4 in its order; it does not publish its limits. A page is judged on
its own, and gets all reasons, the first one first.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from synth.regions import TextLine

PDF_RULES: Final = (
    "too_small",
    "few_characters",
    "many_characters",
    "latin_extended",
    "private_use",
    "unreadable_text",
)
HTML_RULES: Final = tuple(rule for rule in PDF_RULES if rule != "latin_extended")
"""The same, without the one that the paper leaves out for HTML."""

MIN_SIDE: Final = 200
"""Pixels of a page's shorter side."""
FEWEST: Final = 10
MOST: Final = 6000
"""Characters of a page other than white space."""
_FLAT: Final = 12
"""Grey levels between the darkest and the lightest pixel of what shows nothing."""

_LATIN_EXTENDED: Final = re.compile("[\u0100-\u024f]")
_PRIVATE_USE: Final = re.compile("[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]")
_UNREADABLE: Final = re.compile("\ufffd")
_LIGATURES: Final = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st"}
_UNSEEN: Final = dict.fromkeys(
    [*range(0x20), 0x7F, *range(0x80, 0xA0), 0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF]
)
_AS_DRAWN: Final = {**_UNSEEN, **_LIGATURES, 0xFB06: "st", 0x02: "-", 0xFFFE: "-"}


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """A page as it is shown and as it is written.

    `image` is a JPEG of `width` x `height` pixels, `lines` its visible text in reading order,
    `left_out` counts the words that were not taken over: outside, invisible.
    """

    number: int
    image: bytes
    width: int
    height: int
    lines: tuple[TextLine, ...]
    left_out: dict[str, int]

    @property
    def text(self) -> str:
        """The lines, one below the other."""
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True, slots=True)
class PageFailure:
    """A page, or all pages from `number` on, that could not be had: a class of schemas.errors, and why."""

    number: int
    kind: str
    message: str


def judge(page: DocumentPage, rules: Sequence[str] = PDF_RULES) -> dict[str, str]:
    """Returns those of `rules` that the page fails, in order, each with its figure in words."""
    text = page.text
    side, count = min(page.width, page.height), sum(not char.isspace() for char in text)
    found = {
        "too_small": f"{side} pixels, fewer than {MIN_SIDE}" if side < MIN_SIDE else "",
        "few_characters": f"{count} characters, fewer than {FEWEST}" if count < FEWEST else "",
        "many_characters": f"{count} characters, more than {MOST}" if count > MOST else "",
        "latin_extended": _counted(_LATIN_EXTENDED, text, "of Latin Extended"),
        "private_use": _counted(_PRIVATE_USE, text, "for private use"),
        "unreadable_text": _counted(_UNREADABLE, text, "without a meaning"),
    }
    return {name: found[name] for name in rules if found[name]}


def _counted(pattern: re.Pattern[str], text: str, what: str) -> str:
    found = pattern.findall(text)
    if not found:
        return ""
    s = "" if len(found) == 1 else "s"
    return f"{len(found)} character{s} {what}, the first U+{ord(found[0]):04X}"


def as_drawn(text: str) -> str:
    """`text` as its glyphs show it: ligatures spelt out, PDF's hyphen marks as -, no shapeless characters."""
    return text.translate(_AS_DRAWN)


def is_flat(grey: NDArray[np.uint8], box: tuple[float, float, float, float]) -> bool:
    """Returns whether a page shows one even shade within (left, top, right, bottom), where a word should be."""
    left, top = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
    right, bottom = max(math.ceil(box[2]), left + 1), max(math.ceil(box[3]), top + 1)
    part = grey[top:bottom, left:right]
    return part.size == 0 or int(part.max()) - int(part.min()) < _FLAT
