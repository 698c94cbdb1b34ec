"""The byte-pair merges of the embedded scorer's tokenizer, learnt from the captions it will read.

The file is one that `open_clip.tokenizer.SimpleTokenizer(bpe_path=...)` reads: bytes are its
alphabet, so any language can be written; an English word becomes one token, Chinese becomes tokens of
one or two characters.
"""

import gzip
from collections import Counter
from collections.abc import Iterable
from typing import Final

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode, get_pairs

MERGES: Final = 900
LONGEST: Final = 2
"""Characters of a token outside ASCII."""

_END: Final = "</w>"

_BYTES: Final = {letter: byte for byte, letter in bytes_to_unicode().items()}

Merge = tuple[str, str]


def learn(texts: Iterable[str], merges: int = MERGES) -> list[Merge]:
    """The most frequent merges, the most frequent first; equal texts give equal merges."""
    plain = SimpleTokenizer()
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        for word in plain.pat.findall(plain.clean_fn(text)):
            letters = [plain.byte_encoder[byte] for byte in word.encode()]
            counts[(*letters[:-1], letters[-1] + _END)] += 1
    words = dict(counts)
    found: list[Merge] = []
    while len(found) < merges:
        pairs: Counter[Merge] = Counter()
        for word, count in words.items():
            for pair in get_pairs(word) if len(word) > 1 else ():
                if _allowed(pair):
                    pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        found.append(best)
        words = _merged(words, best)
    return found


def _allowed(pair: Merge) -> bool:
    """Whether the merged token is a piece of one character, or whole characters and few of them."""
    letters = "".join(pair).removesuffix(_END)
    if letters.isascii():
        return True
    data = bytes(_BYTES[letter] for letter in letters)
    try:
        return len(data.decode()) <= LONGEST
    except UnicodeDecodeError:
        # the first two bytes of a character of three: its third makes it whole
        return len(data) == 2 and data[0] >= 0xE0


def _merged(words: dict[tuple[str, ...], int], pair: Merge) -> dict[tuple[str, ...], int]:
    after: Counter[tuple[str, ...]] = Counter()
    for word, count in words.items():
        joined: list[str] = []
        for letter in word:
            if joined and (joined[-1], letter) == pair:
                joined[-1] += letter
            else:
                joined.append(letter)
        after[tuple(joined)] += count
    return dict(after)


def dump(merges: list[Merge]) -> bytes:
    """The merges as SimpleTokenizer's file: a first line, then a merge a line; the same bytes each time."""
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    return gzip.compress("\n".join(lines).encode(), mtime=0)
