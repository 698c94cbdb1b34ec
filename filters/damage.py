"""Text that a wrong encoding damaged: restored where that is certain, named where it is not.

Certain is what goes back and forth without a loss and reads as text of its script: UTF-8 read as GB 18030;
GBK, Big5 or Shift-JIS read as Latin-1 or Windows-1252; escapes (`\\u4e00`, `%E4%B8%80`). UTF-8 read as a
Western encoding is ftfy's (filters/repair.py). Never certain is where characters are gone: U+FFFD, and
锟斤拷, which is U+FFFD in UTF-8 read as GBK.
"""

from typing import Final

import ftfy.badness
import regex  # type: ignore[import-untyped]

DAMAGED: Final = (
    r"[\x{80}-\x{ff}\x{152}-\x{17e}\x{2c6}\x{2dc}\x{20ac}\x{2122}\x{3400}-\x{9fff}\x{e000}-\x{fffd}]"
    r"|\\[ux]|%[0-9a-fu]|u[0-9a-f]{4}u"
)
"""RE2, case ignored: what a damaged text holds one of."""

_LEAST: Final = 4
"""A run of fewer characters above ASCII can be what its language writes: áéí."""
_COMMON: Final = 0.85
"""In text of an encoding, this share of the characters is among those that it lists first, as common."""
_WESTERN: Final = 0.5
"""No language writes this share of its characters above ASCII and within Windows-1252."""
_UTF8: Final = 0.61
"""Of the bytes of a sound text in GB 18030, a smaller share is UTF-8 of three bytes by chance."""
_UTF8_INSIDE: Final = 0.5
"""The same, of any UTF-8, where Chinese characters stand inside of words in small Latin letters."""

_LETTERS: Final = 6
"""So many letters may stand alone: ÄÖÜß."""
_MARGIN: Final = 0.1
"""Two encodings that are nearer to each other than this leave it open which one it was."""

_HAN: Final = regex.compile(r"[\u3400-\u9fff\ue000-\uf8ff]")
_KANA: Final = regex.compile(r"[\u3041-\u30fa]")
_CJK: Final = regex.compile(r"[\u3041-\u30fa\u3400-\u9fff]")
_MARKS: Final = regex.compile(r"[\x00-\x7f\u2010-\u2027\u3000-\u303f\u30fb-\u30fc\uff00-\uff65]")
# of three bytes in UTF-8, and what captions are written in
_HEAVY: Final = regex.compile(r"[\u0900-\u0fff\u1e00-\u1eff\u3001-\u9fff\uac00-\ud7a3\uff01-\uff5e]")
_ALPHABETS: Final = tuple(
    regex.compile(rf"[{letters}]+")
    for letters in (
        r"\xc0-\u017f\u01a0\u01a1\u01af\u01b0",
        r"\u0386-\u03ce",
        r"\u0400-\u045f",
        r"\u05d0-\u05ea\u0621-\u064a",
    )
)
_INSIDE: Final = regex.compile(r"(?<=[a-z])[\u3400-\u9fff\ue000-\uf8ff]{1,2}(?=[a-z])")
_STUCK: Final = regex.compile(r"[\u3041-\u9fff][A-Za-z@\[-`{-~][\u3041-\u9fff]|[\uff61-\uff9f]")
_BESIDE: Final = regex.compile(
    r"[\u3041-\u9fff](?:[\xc0-\xd6\xd8-\xf6\xf8-\xff][\u3041-\u9fff]|[\x80-\xaf\xb4-\xb6\xb8-\xff\u0192\u02c6]{2})"
    r"|[\xa1-\xaf\xb4-\xb6\xb8-\xff\u0192\u02c6]{2}[\u3041-\u9fff]"
)
# what Chinese and Japanese are written in is no sign of a Western encoding
_FOREIGN: Final = regex.compile(r"[^\x00-\x7f\xb7‘’“”—…\u3001-\u303f\u3041-\u30ff\u3400-\u9fff\uff01-\uff5e]")
# ā á é ü …, the letters of Latin that GBK has, read as Latin-1
_PINYIN: Final = regex.compile(r"(?<![^\x00-\x7f])\xa8[\xa1-\xba]")
_ORDINARY: Final = frozenset("ŠšŽžŒœŸ“”‘’–—…•·€£™®©°«»×±½¼¾²³µ¡¿\xa0")

_ESCAPES: Final = regex.compile(r"(?:\\{1,2}|%)u[0-9a-f]{4}|(?:\\{1,2}x|%)[0-9a-f]{2}", regex.IGNORECASE)
_UNITS: Final = regex.compile(r"(?:(?:\\{1,2}|%)u[0-9a-f]{4})+", regex.IGNORECASE)
_BYTES: Final = regex.compile(r"(?:(?:\\{1,2}x|%)[0-9a-f]{2})+", regex.IGNORECASE)
_HIGH: Final = regex.compile(r"[x%][89a-f][0-9a-f]", regex.IGNORECASE)
_SPACE: Final = regex.compile(r"(?<=\w)%20(?=\w)")
_ADDRESS: Final = regex.compile(r"(?:https?://|www\.)\S*", regex.IGNORECASE)
_LOST: Final = regex.compile(
    r"\ufffd|锟斤|斤拷|\\u[0-9a-f]{4}|\\u[0-9a-f]{0,3}$|(?:\\x[89a-f][0-9a-f]){2}|%u[0-9a-f]{4}|(?:%[89a-f][0-9a-f]){2}"
    # u4e00u53ea: the backslashes are gone
    r"|(?<!\w)(?:u(?:[4-9][0-9a-f]|30|a[c-f]|[bcd][0-9a-f])[0-9a-f]{2}){2,}",
    regex.IGNORECASE,
)

_UPPER: Final = {byte: bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)}
_WINDOWS: Final = {ord(character): byte for byte, character in _UPPER.items() if character}
"""From the characters that Windows-1252 has above Latin-1 to their bytes."""
_HIGH_BYTE: Final = regex.compile(rf"[\x80-\xff{''.join(map(chr, _WINDOWS))}]")
_NO_BYTE: Final = regex.compile(rf"[^\x00-\xff{''.join(map(chr, _WINDOWS))}]")
_ASCII: Final = bytes(range(0x80))

_ENCODINGS: Final = {"gbk": (0xB0, 0xD7, 0xA1), "big5": (0xA4, 0xC6, 0x40), "cp932": (0x88, 0x97, 0x40)}
"""Encoding: least and last first byte of its common characters (GB 2312's and JIS's first level, Big5's frequent
ones), and their least second byte."""


def restored(text: str) -> str:
    """`text` with what a wrong encoding did to it undone, where that is certain."""
    if _ESCAPES.search(text):
        text = _unescaped(text)
    if text.isascii():
        return text
    found = _from_gb18030(text) or _from_western(text) or text
    return str(_PINYIN.sub(lambda letter: letter[0].encode("latin-1").decode("gbk"), found))


def damage(text: str) -> str | None:
    """What is wrong with a text that could not be restored: lost_characters, wrong_encoding or nothing."""
    plain = _ADDRESS.sub("", text)
    if _LOST.search(plain):
        return "lost_characters"
    return "wrong_encoding" if not text.isascii() and (_is_western(text) or _is_utf8(text)) else None


def _unescaped(text: str) -> str:
    r"""`text` with `\u4e00`, `%u4e00`, `%E4%B8%80` and `\xe4\xb8\x80` decoded, outside of addresses."""
    parts, at = [], 0
    for address in _ADDRESS.finditer(text):
        parts += [_decoded(text[at : address.start()]), address[0]]
        at = address.end()
    return "".join([*parts, _decoded(text[at:])])


def _decoded(text: str) -> str:
    text = _UNITS.sub(lambda run: _units(run[0]), text)
    if not _HIGH.search(text) and (" " in text or not _SPACE.search(text)):
        return text
    # all escapes of a caption are of one encoding, which the bytes of a few characters do not tell
    data = bytes.fromhex("".join(regex.findall(r"(?i)[x%]([0-9a-f]{2})", "".join(_BYTES.findall(text)))))
    try:
        data.decode()
        encoding = "utf-8"
    except UnicodeDecodeError:
        if not _common_text(data, ("gbk",)):
            return text
        encoding = "gbk"
    return str(_BYTES.sub(lambda run: _run(run[0], encoding), text))


def _units(run: str) -> str:
    r"""What a run of `\u4e00` stands for; the run itself where it holds half of a surrogate pair or a control."""
    units = regex.findall(r"(?i)u([0-9a-f]{4})", run)
    found = b"".join(bytes.fromhex(unit) for unit in units).decode("utf-16-be", "replace")
    return found if found.isprintable() and "\ufffd" not in found else run


def _run(run: str, encoding: str) -> str:
    found = bytes.fromhex("".join(regex.findall(r"(?i)[x%]([0-9a-f]{2})", run))).decode(encoding, "replace")
    return found if found.isprintable() else run


def _from_gb18030(text: str) -> str | None:
    """The text whose UTF-8 was read as GB 18030 (or Windows' code page 936); None where it was not."""
    if not _HAN.search(text):
        return None
    data = text.encode("gb18030", "replace")
    for one in dict.fromkeys((data, data.replace(b"\xa2\xe3", b"\x80"))):
        try:
            found = one.decode()
        except UnicodeDecodeError:
            continue
        heavy = len(_HEAVY.findall(found))
        # 联通 and T台 are valid UTF-8 by chance
        if heavy >= 2 or _INSIDE.search(text) or (not heavy and _is_alphabetic(found)):
            return found if found.isprintable() else None
    return None


def _is_alphabetic(found: str) -> bool:
    """True where the letters above ASCII are of one alphabet, and enough of them not to be so by chance."""
    letters = "".join(one for one in found if one > "\x7f" and one.isalpha())
    return len(letters) >= _LEAST and any(alphabet.fullmatch(letters) for alphabet in _ALPHABETS)


def _from_western(text: str) -> str | None:
    """The text whose GBK, Big5 or Shift-JIS was read as Latin-1 or Windows-1252; None where it was not."""
    if _NO_BYTE.search(text):
        return None
    data = text.translate(_WINDOWS).encode("latin-1")
    count = len(data.translate(None, _ASCII))
    if count < _LEAST or 3 * count < len(data) or not _is_odd([one for one in text if one > "\x7f"]):
        return None
    # UTF-8 read so is ftfy's
    if _is_valid(data):
        return None
    # of Shift-JIS, Windows-1252 lacks bytes
    lossy = any(one > "\xff" for one in text)
    return _common_text(data, tuple(name for name in _ENCODINGS if name != "cp932" or not lossy))


def _is_valid(data: bytes) -> bool:
    try:
        return bool(data.decode())
    except UnicodeDecodeError:
        return False


def _common_text(data: bytes, encodings: tuple[str, ...]) -> str | None:
    """What `data` says in the encoding in which most characters are common; None where in none nearly all are."""
    best, most, second = None, 0.0, 0.0
    for encoding in encodings:
        try:
            found = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        common = [_is_common(one, encoding) for one in _CJK.findall(found)]
        share = sum(common) / max(len(_MARKS.sub("", found)), 1)
        if not found.isprintable() or len(common) < 2 or (encoding == "cp932" and _STUCK.search(found)):
            continue
        second = max(second, min(share, most))
        best, most = (found, share) if share > most else (best, most)
    return best if most >= _COMMON and most - second >= _MARGIN else None


def _is_common(character: str, encoding: str) -> bool:
    """True for kana, and for the characters that the encoding has first."""
    first, last, least = _ENCODINGS[encoding]
    lead, trail = character.encode(encoding)
    return "\u3041" <= character <= "\u30fa" or (first <= lead <= last and trail >= least)


def _is_western(text: str) -> bool:
    """True where the characters are those of bytes above ASCII read as Latin-1 or Windows-1252."""
    if not _FOREIGN.search(text):
        return False
    # a letter of Ewe, which ftfy takes for a byte
    if _BESIDE.search(text) or ftfy.badness.is_bad(text.replace("ƒ", "")):
        return True
    high = _HIGH_BYTE.findall(text)
    few = len(high) < _LEAST or ("".join(high).isalpha() and len(high) <= _LETTERS)
    return not few and _is_odd(high) and len(high) >= _WESTERN * (len(text) - text.count(" "))


def _is_odd(high: list[str]) -> bool:
    """True where more stands among the characters above ASCII than punctuation and small letters: Yoruba and Sango
    write half of their letters with accents."""
    return len([one for one in high if one not in _ORDINARY and not "\xdf" <= one <= "\xff"]) >= 2


def _is_utf8(text: str) -> bool:
    """True where much of the text is UTF-8 that was read as GB 18030, with pieces lost."""
    # 青い is C7 E0 A4 A4: where Han and kana meet, three bytes may be UTF-8 by chance
    if not _HAN.search(text) or 5 * len(_KANA.findall(text)) >= len(_CJK.findall(text)):
        return False
    data = text.encode("gb18030", "replace")
    kept = data.decode("utf-8", "ignore")
    if kept.isascii():
        return False
    high = len(data.translate(None, _ASCII))
    heavy = len(_HEAVY.findall(kept))
    if heavy >= 2 and 3 * heavy >= _UTF8 * high:
        return True
    valid = len(kept.encode().translate(None, _ASCII))
    return _INSIDE.search(text) is not None and valid >= _UTF8_INSIDE * high
