"""Pages of real documents and the paper's rules over them, whether PDF or HTML.

The rules are those of Qwen-VL's appendix A.4 in its order; its limits are not published, ours are
settings. A page is judged on its own; who counts the outcomes gets all reasons, the first one first.
"""

import re
from dataclasses import dataclass
from typing import Final

from synth.readback import Agreement
from synth.regions import TextLine

PDF_RULES: Final = (
    "too_small",
    "few_characters",
    "many_characters",
    "latin_extended",
    "private_use",
    "unreadable_text",
    "mismatch",
)
HTML_RULES: Final = tuple(rule for rule in PDF_RULES if rule != "latin_extended")
"""The same, without the one that the paper leaves out for HTML."""

_LATIN_EXTENDED: Final = re.compile("[\u0100-\u024f]")
_PRIVATE_USE: Final = re.compile("[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]")
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


@dataclass(frozen=True, slots=True)
class DocumentRules:
    """Limits for a page: pixels of its shorter side, characters other than white space, error rate."""

    names: tuple[str, ...] = PDF_RULES
    min_side: int = 200
    min_characters: int = 10
    max_characters: int = 6000
    max_error: float = 0.15


def judge(page: DocumentPage, rules: DocumentRules, agreement: Agreement | None = None) -> tuple[str, ...]:
    """The rules that the page fails, in order; none means it is kept.

    `mismatch` is judged only where the page was read back (`agreement`).
    """
    text = page.text
    count = sum(not char.isspace() for char in text)
    failed = {
        "too_small": min(page.width, page.height) < rules.min_side,
        "few_characters": count < rules.min_characters,
        "many_characters": count > rules.max_characters,
        "latin_extended": _LATIN_EXTENDED.search(text) is not None,
        "private_use": _PRIVATE_USE.search(text) is not None,
        "unreadable_text": "\ufffd" in text,
        "mismatch": agreement is not None and agreement.error_rate > rules.max_error,
    }
    return tuple(name for name in rules.names if failed[name])


def as_drawn(text: str) -> str:
    """`text` as its glyphs show it: ligatures spelt out, PDF's hyphen marks as -, no shapeless characters."""
    return text.translate(_AS_DRAWN)
