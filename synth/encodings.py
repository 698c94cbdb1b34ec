"""Bytes as text: by their mark, as UTF-8, or in an old encoding that makes sense of them.

Old encodings read almost any bytes, and what they read in another's is nonsense. So all of a language are
tried, and the reading with the largest share of usual characters counts.
"""

import codecs
from functools import lru_cache
from typing import Final

from schemas.errors import InputError

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
