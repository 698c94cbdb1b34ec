"""Text for pages: read from bytes of any usual encoding, cleaned, and as the stream that pages are set from.

Old encodings read almost any bytes, and what they read in another's is nonsense. So all of a language are tried, and
the reading with the largest share of usual characters counts.
"""

import codecs
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from schemas.errors import InputError
from synth.words import LANGUAGES

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
    """Returns the project's own sentences. Raises InputError for a language that has none."""
    prose = {code: tuple(words.prose) for code, words in LANGUAGES.items() if words.prose}
    if language not in prose:
        raise InputError(f"no text for language {language}: give text files (built in: {', '.join(prose)})")
    return prose[language]


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


_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF16: Final = ("utf-16-le", "utf-16-be")
_ENCODINGS: Final = {
    "zh": ("gb18030", "big5"),
    "ja": ("cp932", "euc_jp"),
    "ko": ("cp949",),
    "ru": ("cp1251", "koi8-r"),
}
_USUAL: Final = {
    "gb18030": (("gb2312", 0xB0, 0xD7), ("gb2312", 0xA1, 0xA1), ("gb2312", 0xA3, 0xA3)),
    "big5": (("big5", 0xA4, 0xC6), ("big5", 0xA1, 0xA2)),
    "cp932": (("euc_jp", 0xA1, 0xCF),),
    "euc_jp": (("euc_jp", 0xA1, 0xCF),),
    "cp949": (("euc_kr", 0xA1, 0xC8),),
}
"""Per encoding: blocks of a character set that hold what most texts are made of, by their lead bytes."""
_LEAST: Final = 0.6
_CONTROL: Final = frozenset(range(32)) - {9, 10, 12, 13, 26, 27}
_MOST_CONTROL: Final = 0.01
_SEEN: Final = 100_000
"""Characters of a text that are judged."""


def decode(data: bytes, language: str) -> str:
    """The text of a file of that language.

    By its byte order mark; as UTF-8; else in the encoding of its language, or UTF-16 without a mark, that
    makes most sense. Raises InputError where none does: binary data, or another encoding.
    """
    if not data:
        return ""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _only(data, name)
    own = _ENCODINGS.get(language, ("cp1252",))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if _is_text(text):
        return text
    texts = [(name, _read(data, name)) for name in (*own, *_UTF16)]
    readings = [(_sense(text, name, language), text) for name, text in texts if text]
    best = max(readings, key=lambda one: one[0], default=(0.0, ""))
    if best[0] < _LEAST:
        raise InputError(
            f"no text of language {language}: it makes no sense as utf-8, {', '.join(own)} or utf-16; "
            "convert it to UTF-8"
        )
    return best[1]


def _only(data: bytes, name: str) -> str:
    text = _read(data, name)
    if not text and len(data) > 4:
        raise InputError(f"its mark says {name.removesuffix('-sig')}, and it is not")
    return text


def _read(data: bytes, name: str) -> str:
    """The text, or nothing where the encoding does not read it to the end, or reads what is none."""
    try:
        text = data.decode(name)
    except UnicodeDecodeError:
        return ""
    return text if _is_text(text) else ""


def _is_text(text: str) -> bool:
    """Whether there is anything, and hardly a control character in it (no NUL at all)."""
    seen = text[:_SEEN]
    control = sum(ord(char) in _CONTROL for char in seen)
    return bool(seen) and "\0" not in text and control <= max(1, _MOST_CONTROL * len(seen))


def _sense(text: str, name: str, language: str) -> float:
    """The share of the characters beyond ASCII that are usual ones of the language in that encoding."""
    seen = [char for char in text[:_SEEN] if char > "\x7f"]
    if not seen:
        return 1.0
    return sum(_is_usual(char, name, language) for char in seen) / len(seen)


def _is_usual(char: str, name: str, language: str) -> bool:
    names = [name] if name in _USUAL else [one for one in _ENCODINGS.get(language, ()) if one in _USUAL]
    if names:
        return any(char in _usual(one) for one in names)
    if language == "ru":
        # the other encoding turns the case round: small letters are the usual ones
        return "\u0430" <= char <= "\u0451" or char in "«»—–№"
    return "\xa0" <= char <= "\u024f" or "\u2010" <= char <= "\u20ac" or char == "\u2122"


@lru_cache(maxsize=8)
def _usual(name: str) -> frozenset[str]:
    found = {"　", *"“”‘’…—·、。"}
    for codec, first, last in _USUAL[name]:
        for lead in range(first, last + 1):
            for trail in range(0x40, 0xFF):
                found.update(bytes((lead, trail)).decode(codec, "ignore"))
    return frozenset(found - {chr(code) for code in range(128)})
