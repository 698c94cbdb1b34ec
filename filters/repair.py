"""One caption with everything taken out that is not text: markup, entities, broken encodings, invisibles.

Each step takes a string and gives one; filters/caption.py applies them until nothing changes, and only
to captions that hold a character which a step could want to change (`SUSPICIOUS`).
"""

import html
import unicodedata
from html.entities import html5
from typing import Final

import ftfy
import ftfy.badness
import regex  # type: ignore[import-untyped]

SUSPICIOUS: Final = (
    r"[^ -%'-;=-~\x{3001}-\x{301b}\x{3041}-\x{3096}\x{30a1}-\x{30fc}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}"
    r"\x{ac00}-\x{d7a3}\x{ff01}-\x{ff5e}“”‘’…—–·]"
)
"""RE2: a character that may need mending. Printable ASCII but & and <, Chinese, kana, Hangul and common
punctuation never do: none of them is by itself the sign of a broken encoding, or changed by NFC."""

_FTFY: Final = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)

_BLOCKS: Final = """
    address article aside blockquote body br caption center col colgroup dd details dialog dir div dl dt
    fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html
    iframe img input isindex legend li link main menu meta nav noframes noscript object ol optgroup option p
    param picture pre script search section select source style summary svg table tbody td template textarea
    tfoot th thead title tr track ul video xmp
"""
_INLINES: Final = """
    a abbr acronym applet area audio b base basefont bdi bdo big blink button canvas cite code data datalist
    del dfn em embed font i ins kbd label map mark marquee math meter nobr output progress q rp rt ruby s
    samp slot small span strike strong sub sup time tt u var wbr
"""
_FLAG_NAMES: Final = """
    async autofocus autoplay checked compact controls default defer disabled download hidden ismap loop
    multiple muted noshade novalidate nowrap open readonly required reversed selected
"""
_BLOCK: Final = frozenset(_BLOCKS.split())
_INLINE: Final = frozenset(_INLINES.split())
_FLAGS: Final = frozenset(_FLAG_NAMES.split())

# every alternative stops at the next "<" (or, for comments, at the end), so that the search is linear
_MARKUP: Final = regex.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?:!doctype|\?xml|!\[CDATA\[)[^<>]*>"
    r"|<(?P<raw>script|style)\b[^<>]*>[^<]*</(?P=raw)\s*>"
    r"""|<(?P<close>/?)(?P<name>[a-z][a-z0-9]*)(?P<attributes>(?:\s(?:[^<>"']|"[^"<]*"|'[^'<]*')*|\s[^<>]*|/)?)(?P<end>>|\Z)""",
    regex.IGNORECASE | regex.DOTALL,
)
_ENTITY: Final = regex.compile(
    r"&(?:amp;)*(?:#\d{1,7};|#x[0-9a-f]{1,6};|[a-z][a-z0-9]{1,31};|(?:amp|quot|lt|gt|nbsp|apos)(?![a-z0-9;=]))",
    regex.IGNORECASE,
)
# as browsers read them: Windows-1252, and the five bytes that it lacks are lost
_C1: Final = {
    byte: bytes([byte]).decode("cp1252", "replace") for byte in range(0x80, 0xA0) if byte != ord("\x85")
}
_TERMINAL: Final = regex.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")

# joiners mean something inside words of these scripts, and inside emoji sequences
_JOINING: Final = (
    r"\p{Arabic}\p{Syriac}\p{Mongolian}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}"
    r"\p{Telugu}\p{Kannada}\p{Malayalam}\p{Sinhala}\p{Khmer}\p{Myanmar}\p{Tibetan}"
)
_INVISIBLE: Final = regex.compile(
    r"[\p{Cc}--\s]"
    r"|[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0]"
    r"|[\ufff9-\ufffb\U000e0000\U000e0001]",
    regex.VERSION1,
)
_STRAY: Final = regex.compile(
    rf"\u200d(?<!(?:[{_JOINING}]|[\p{{Extended_Pictographic}}\p{{Emoji_Modifier}}\ufe0f])\u200d)"
    rf"|\u200d(?![{_JOINING}]|\p{{Extended_Pictographic}})"
    rf"|\u200c(?<![{_JOINING}]\u200c)|\u200c(?![{_JOINING}])"
    r"|[\ufe00-\ufe0f](?<![\p{Emoji}\p{S}\p{P}\p{Han}\p{Myanmar}\p{Mongolian}\p{Phags_Pa}][\ufe00-\ufe0f])"
    r"|(?<![\p{Extended_Pictographic}\U000e0020-\U000e007e])[\U000e0020-\U000e007f]"
)
_MAYBE_STRAY: Final = regex.compile(r"[\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f]")


def mend(text: str) -> str:
    """`text` after one pass of all steps; white space is left for the caller to tidy."""
    if not text.isascii():
        # which fix_encoding asks too, after more than this takes
        if ftfy.badness.is_bad(text):
            text = ftfy.fix_encoding(text, _FTFY)
        if not text.isprintable():
            text = text.translate(_C1)
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    if "<" in text:
        text = _MARKUP.sub(_without_markup, text)
    if "&" in text:
        text = _ENTITY.sub(_unescaped, text)
    if not text.isprintable():
        text = _INVISIBLE.sub("", text)
    if not text.isascii():
        if _MAYBE_STRAY.search(text):
            text = _STRAY.sub("", text)
        text = unicodedata.normalize("NFC", text)
    return text


def _without_markup(match: regex.Match[str]) -> str:
    """What stands in place of a tag or comment: nothing, a line feed for a block, or what was no markup."""
    name = match["name"]
    if name is None:
        return "\n"
    name = name.lower()
    attributes = match["attributes"].strip(" \t\r\n/")
    if name not in _BLOCK and name not in _INLINE:
        return str(match[0])
    # "a<b and c>d" is no tag; a tag that the end cuts off shows by its attributes only
    flags = match["end"] == ">" and all(word.lower() in _FLAGS for word in attributes.split())
    if not flags and "=" not in attributes:
        return str(match[0])
    return "\n" if name in _BLOCK else ""


def _unescaped(match: regex.Match[str]) -> str:
    """The character that an entity stands for; an unknown name stays as it is."""
    body = match[0][1:].split("&")[-1]
    while body.lower().startswith("amp;") and len(body) > 4:
        body = body[4:]
    known = body.startswith("#") or body in html5 or body.lower() + ";" in html5 or body.lower() in html5
    if not known:
        return str(match[0])
    entity = body if body.endswith(";") else body + ";"
    return html.unescape("&" + (entity if entity in html5 or entity.startswith("#") else entity.lower()))
