"""Chinese noun chunks without segmentation: what stands between numerals, function words and verbs."""

from typing import Final

from filters.chunk_words import ChineseWords

LONGEST: Final = 16
"""Characters: what is longer is a clause that no known word divides."""
Place = tuple[int, int]


def chinese(caption: str, words: ChineseWords) -> list[Place]:
    """(start, end) of each noun chunk, in order.

    A numeral with its classifier begins a chunk; function words, verbs and marks end one; 的 joins.
    """
    ends = sorted({*words.breaks, *words.verbs}, key=lambda word: (-len(word), word))
    chunks: list[Place] = []
    start = at = 0
    while at < len(caption):
        inside = _one_of(caption, at, words.compounds)
        numbered = _numeral(caption, at, words)
        stop = 0 if inside or numbered else _one_of(caption, at, ends)
        if numbered or stop:
            _add(chunks, caption, start, at, words)
            start = at if numbered else at + stop
        at += inside or numbered or stop or 1
    _add(chunks, caption, start, len(caption), words)
    return chunks


def _add(chunks: list[Place], caption: str, start: int, end: int, words: ChineseWords) -> None:
    while start < end and caption[start] in "的地得":
        start += 1
    while end > start and caption[end - 1] in "的地得":
        end -= 1
    own = caption[start + _numeral(caption, start, words) : end]
    # 一个 alone counts something that is not said
    if own and len(own) <= LONGEST and any("\u4e00" <= one <= "\u9fff" for one in own):
        chunks.append((start, end))


def _one_of(caption: str, at: int, words: tuple[str, ...] | list[str]) -> int:
    """The length of the longest of `words` that stands at `at`, or 0."""
    return max((len(word) for word in words if caption.startswith(word, at)), default=0)


def _numeral(caption: str, at: int, words: ChineseWords) -> int:
    """The length of a numeral with its classifier at `at`, or 0."""
    end = at
    while end < len(caption) and caption[end] in words.numerals:
        end += 1
    if end == at:
        return 0
    size = _one_of(caption, end, words.classifiers)
    return end + size - at if size else 0
