"""Captions that say the same: one normalised form, n-grams of characters, MinHash over them, and their Jaccard index.

The hashes are numpy's own arithmetic over fixed constants rather than a library's: datasketch hashes one text at a
time in Python and draws its permutations from numpy's generator, rensa fixes no hash across its versions. Here a
column is hashed at once (about 150,000 short captions a second and core), and equal captions give equal hashes on every
machine and version of numpy.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.arrow import array, pc

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

VERSION: Final = 1
"""To be raised when the same captions can give other values or pairs."""

LONGEST: Final = 2000
"""So many characters of a caption are read; captions that are equal up to there count as equal."""
GRAM: Final = 4
UNSPACED_GRAM: Final = 2
"""Characters of one n-gram; the second in scripts without spaces, where a character says as much as a syllable."""
BANDS: Final = 24
MOST_IN_BAND: Final = 8
CHUNK: Final = 4096

_UNSPACED: Final = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
)
_NO_WORD: Final = r"[^\p{L}\p{M}\p{N}]+"
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def normalised(captions: Any) -> Any:
    """Returns captions as they are compared: NFKC, lower case, words alone; null where there is nothing to compare.

    A caption without letters and digits is compared as it stands, in NFKC and without spaces around it.
    """
    cut = pc.utf8_slice_codeunits(captions, 0, LONGEST).to_pylist()
    # Arrow's own utf8_normalize leaves NFKC decomposed (seen with 25.0.1)
    whole = array([text and unicodedata.normalize("NFKC", text) for text in cut], pa.string())
    plain = pc.utf8_trim_whitespace(pc.utf8_lower(whole))
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, _NO_WORD, " "))
    text = pc.if_else(pc.equal(words, ""), plain, words)
    return pc.if_else(pc.equal(text, ""), None, text)


def rows_in_band(similarity: float) -> int:
    """Returns how many minima make a band: the most at which 99 of 100 pairs that are so similar share a band."""
    share = 1 - 0.01 ** (1 / BANDS)
    fitting = [rows for rows in range(1, MOST_IN_BAND + 1) if similarity**rows >= share]
    return max(fitting, default=1)


def bands(texts: Sequence[str], similarity: float) -> U64:
    """Returns (N, BANDS): a number for each band of each text; similar texts are likely to share one."""
    rows = rows_in_band(similarity)
    whole = np.empty((len(texts), BANDS), np.uint64)
    for start in range(0, len(texts), CHUNK):
        hashes, starts = grams(texts[start : start + CHUNK])
        for band in range(BANDS):
            number = np.full(len(starts), band, np.uint64)
            for row in range(rows):
                least = np.minimum.reduceat(_permuted(hashes, band * MOST_IN_BAND + row), starts)
                number = _mixed(number * _PRIME ^ least)
            whole[start : start + len(starts), band] = number
    return whole


def jaccard(left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
    """Returns (N,): of two texts at the same place the n-grams that both have, of those that either has."""
    parts = [np.zeros(0)]
    for start in range(0, len(left), CHUNK):
        ours, theirs = (_distinct(side[start : start + CHUNK]) for side in (left, right))
        count = len(left[start : start + CHUNK])
        either = np.bincount(ours[1], minlength=count) + np.bincount(theirs[1], minlength=count)
        pair = np.concatenate([ours[1], theirs[1]])
        grams_ = np.concatenate([ours[0], theirs[0]])
        order = np.lexsort((grams_, pair))
        pair, grams_ = pair[order], grams_[order]
        shared = (grams_[1:] == grams_[:-1]) & (pair[1:] == pair[:-1])
        both = np.bincount(pair[1:][shared], minlength=count)
        parts.append(both / (either - both))
    return np.concatenate(parts)


def grams(texts: Sequence[str]) -> tuple[U64, I64]:
    """Returns the hashes of all n-grams of texts, text after text, and where each text's begin.

    A text shorter than an n-gram is one. Texts are not empty.
    """
    sizes = _sizes(texts)
    padded = [text.ljust(size, "\0") for text, size in zip(texts, sizes.tolist(), strict=True)]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    points = np.frombuffer("".join(padded).encode("utf-32-le"), "<u4").astype(np.uint64)
    counts = lengths - sizes + 1
    starts = np.cumsum(counts) - counts
    at = np.repeat(np.cumsum(lengths) - lengths - starts, counts) + np.arange(counts.sum())
    heavy = np.repeat(sizes == UNSPACED_GRAM, counts)
    hashes = np.where(heavy, np.uint64(1), np.uint64(2))
    for step in range(GRAM):
        longer = hashes * _PRIME + points[np.minimum(at + step, len(points) - 1)]
        hashes = longer if step < UNSPACED_GRAM else np.where(heavy, hashes, longer)
    return _mixed(hashes), starts


def pairs_in_runs(run: I64, reach: int) -> Iterator[tuple[I64, I64]]:
    """Yields pairs of places in runs of equals, `run` being where each place's run begins.

    All pairs of a run of at most `reach` + 1; in a longer one each place with those up to `reach` behind it, and with
    the first.
    """
    places = np.arange(len(run))
    for step in range(1, reach + 1):
        behind = places[step:][run[step:] <= places[:-step]]
        yield behind, behind - step
    far = places[places - run > reach]
    yield far, run[far]


def _sizes(texts: Sequence[str]) -> I64:
    whole = array(texts)
    letters = pc.count_substring_regex(whole, _UNSPACED).to_numpy()
    return np.where(2 * letters > pc.utf8_length(whole).to_numpy(), UNSPACED_GRAM, GRAM).astype(np.int64)


def _distinct(texts: Sequence[str]) -> tuple[U64, I64]:
    """The distinct n-grams of texts, and the text of each."""
    hashes, starts = grams(texts)
    text = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(hashes))))
    order = np.lexsort((hashes, text))
    hashes, text = hashes[order], text[order]
    fresh = np.ones(len(hashes), np.bool_)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (text[1:] != text[:-1])
    return hashes[fresh], text[fresh]


def _permuted(hashes: U64, number: int) -> U64:
    """The hashes in the order of one of many permutations."""
    turn, scale = _mixed(np.array([2 * number + 1, 2 * number + 2], np.uint64) * _PRIME)
    permuted: U64 = (hashes ^ turn) * (scale | np.uint64(1))
    return permuted


def _mixed(numbers: U64) -> U64:
    """A permutation of the 64-bit numbers (splitmix64) that spreads every bit over all."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    mixed: U64 = numbers ^ (numbers >> np.uint64(31))
    return mixed
