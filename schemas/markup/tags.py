r"""The tags, and how text that spells one stays text.

A tag inside text is written with one more backslash after its `<`: `<ref>` becomes `<\ref>`, `<\ref>`
becomes `<\\ref>`. Nothing else changes, so ordinary text is written as it is, and reading takes the
backslash off again.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

EOS: Final = "<|endoftext|>"
IM_START: Final = "<|im_start|>"
IM_END: Final = "<|im_end|>"

_NAME: Final = r"(?:/?(?:img|ref|box|quad)|imgpad|\|(?:endoftext|im_start|im_end|extra_[0-9]{1,3})\|)>"
TAG: Final = re.compile("<" + _NAME)
_SPELLED: Final = re.compile(rf"<(?=\\*{_NAME})")
_ESCAPED: Final = re.compile(rf"<\\(?=\\*{_NAME})")
_SPACED: Final = re.compile(r"\\* ")


def escape(text: str) -> str:
    """`text` with every tag that it spells made plain text."""
    return escape_run([text])[0]


def escape_run(parts: Sequence[str]) -> list[str]:
    """The parts of one run of text, escaped as one: a tag may begin in one part and end in the next."""
    joined = "".join(parts)
    if "<" not in joined:
        return list(parts)
    places = [match.start() + 1 for match in _SPELLED.finditer(joined)]
    written, start = [], 0
    for part in parts:
        end = start + len(part)
        # the backslash follows its `<` into whichever part holds that
        inside = places[bisect_left(places, start + 1) : bisect_left(places, end + 1)]
        edges = [start, *inside, end]
        written.append("\\".join(joined[a:b] for a, b in pairwise(edges)))
        start = end
    return written


def unescape(text: str) -> str:
    """What `escape` was given."""
    return unescape_cut(text, ())[0]


def unescape_cut(text: str, cuts: Sequence[int]) -> list[str]:
    """`text` unescaped as one run, and cut at the places `cuts` (ascending, in characters of `text`)."""
    removed = [match.start() + 1 for match in _ESCAPED.finditer(text)] if "<\\" in text else []
    plain = _ESCAPED.sub("<", text) if removed else text
    edges = [0, *(cut - bisect_left(removed, cut) for cut in cuts), len(plain)]
    return [plain[a:b] for a, b in pairwise(edges)]


def guard(phrase: str) -> str:
    r"""`phrase` so that no space of its own leads it: a leading space gets a backslash before it."""
    return "\\" + phrase if _SPACED.match(phrase) else phrase


def unguard(phrase: str) -> str:
    """What `guard` was given."""
    return phrase[1:] if phrase.startswith("\\") and _SPACED.match(phrase) else phrase
