"""Text for pages: how it is cleaned, and the stream that pages read from."""

import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from schemas.errors import InputError
from synth.page.prose import PROSE

RIGHT_TO_LEFT: Final = frozenset({"ar", "fa", "he", "ur", "yi", "ps"})
"""Languages that are set from right to left."""

_HAN: Final = (
    "\u2e80-\u312f\u31a0-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
)
_TOKEN: Final = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+| ")
_WIDE: Final = re.compile(rf"[{_HAN}]")
_SLOT: Final = re.compile(r"\{(n|year|price|clock|code)\}")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
_LONGEST: Final = 100_000


def clean(text: str) -> str:
    """`text` as one line: composed (NFC), white space as single spaces, nothing that has no shape."""
    spaced = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text[:_LONGEST]))
    return "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN).strip()


def passages(texts: Iterable[str]) -> tuple[str, ...]:
    """The paragraphs of `texts`, cleaned; empty ones are left out."""
    lines = (clean(line) for text in texts for line in text.splitlines())
    return tuple(line for line in lines if line)


def builtin(language: str) -> tuple[str, ...]:
    """The project's own sentences; InputError for a language that has none."""
    if language not in PROSE:
        known = ", ".join(PROSE)
        raise InputError(f"no text for language {language}: give text files (built in: {known})")
    return PROSE[language]


def tokens(text: str) -> list[str]:
    """The places where a line may end: Han and kana one by one, other words whole, single spaces."""
    return _TOKEN.findall(text)


class Reader:
    """An endless stream of tokens: passage after passage, each drawn at random, the first from its middle."""

    def __init__(self, passages: Sequence[str], rng: random.Random) -> None:
        if not passages:
            raise InputError("there is no text to set pages from: every text given is empty")
        self._passages = passages
        self._rng = rng
        self._tokens: list[str] = []
        first = self._next()
        self._tokens = first[rng.randrange(len(first)) :]

    def window(self, count: int) -> list[str]:
        """The next `count` tokens, which stay unread."""
        while len(self._tokens) < count:
            joint = [] if self._tokens and _WIDE.fullmatch(self._tokens[-1]) else [" "]
            self._tokens += [*joint, *self._next()]
        return self._tokens[:count]

    def skip(self, count: int) -> None:
        """Take `count` tokens as read."""
        del self._tokens[:count]

    def _next(self) -> list[str]:
        passage = self._passages[self._rng.randrange(len(self._passages))]
        return tokens(_SLOT.sub(lambda slot: _figure(slot[1], self._rng), passage)) or [" "]


def _figure(slot: str, rng: random.Random) -> str:
    if slot == "n":
        return str(rng.randint(2, rng.choice((9, 99, 4000))))
    if slot == "year":
        return str(rng.randint(1780, 2035))
    if slot == "clock":
        return f"{rng.randint(6, 23)}:{rng.randrange(0, 60, 5):02}"
    if slot == "price":
        return f"{rng.choice('$€£¥')}{rng.randint(2, 180)}.{rng.choice(('00', '50', '90', '25'))}"
    letters = "".join(rng.choices("ABCDEFGHKLMNPRTUWXYZ", k=2))
    return f"{letters}-{rng.randint(1000, 99999)}"
