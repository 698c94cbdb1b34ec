"""What may be shown: text of anybody's, as a terminal, a log, a card or a report may hold it.

Names of shards, members, files and keys come from strangers. A name may hold what moves the cursor, colours the
terminal, turns the direction of a line or begins a new one; an address may hold a password, a token, a signature.
"""

import re
import sys
from typing import Final, TextIO

_CONTROLS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, C1: escapes, line ends
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of text
    "\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff"  # line ends of Unicode, what is no character
    "\U000e0000-\U000e007f"  # tags, which nobody sees
    "\ud800-\udfff]"  # halves of characters, which no file can hold
)

_ADDRESS: Final = re.compile(r"[\w+.-]+://[^\s'\"<>]+")
# user, or user:password, where the password may hold a slash and a host may have a port
_USER: Final = re.compile(r"(://)(?:[^/@]*@|[^/@:]*:(?!\d+(?:/|$))[^@]*@)+")
# the query or fragment, and the sign that ends the sentence
_BEHIND: Final = re.compile(r"([?#]).*?([:;,.)\]}]*)$", re.DOTALL)


def mended(text: str) -> str:
    """Returns text as one line without anything that a terminal obeys: such characters are written as \\uXXXX."""
    return _CONTROLS.sub(_written, text)


def mended_lines(text: str) -> str:
    """Returns text of several lines, each as `mended` gives it."""
    return "\n".join(map(mended, text.split("\n")))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


def public(text: str) -> str:
    """Returns text whose addresses name no user, and show nothing behind `?` or `#`: it may be a key.

    In a path of an object store `?` stands for any letter, unless something is given a value there.
    """
    return _ADDRESS.sub(_without_secrets, text)


def _without_secrets(match: re.Match[str]) -> str:
    address = _USER.sub(r"\1", match[0])
    cut = _BEHIND.search(address)
    if cut is None or not (address.startswith("http") or "=" in cut[0]):
        return address
    return f"{address[: cut.start()]}{cut[1]}…{cut[2]}"


def plain(text: object) -> str:
    """Returns what may be shown of a text: `public` and `mended`."""
    return mended(public(str(text)))


def many(count: int, noun: str) -> str:
    """Returns a number with its noun: `1 row`, `1,200 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def say(*lines: object, to: TextIO | None = None) -> None:
    """Prints lines, each as `plain` gives it: the one way to a terminal that rich does not draw."""
    out = to or sys.stdout
    out.write("".join(f"{plain(line)}\n" for line in lines))
    out.flush()
