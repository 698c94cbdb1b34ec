"""Noun chunks of a caption, by character offsets: what a detector is asked to find."""

import re
from typing import Final, NamedTuple, Protocol

from filters.chunk_words import CHINESE, ENGLISH


class Chunk(NamedTuple):
    """Characters `start` to before `end` of a caption; `whole_start` and `whole_end` are those of the
    referring expression around it, the same where there is none."""

    start: int
    end: int
    whole_start: int
    whole_end: int


class Chunker(Protocol):
    """Finds chunks; `id` names what found them, for fingerprints."""

    id: str

    def chunks(self, caption: str, language: str) -> list[Chunk]:
        """The chunks of a caption in reading order, none overlapping another."""


_ABSTRACT: Final = (
    "air angle area attempt back background beauty bottom bunch center centre close closeup couple day distance "
    "edge end evening foreground freedom front fun group half image kind left life lot love middle moment morning "
    "motion night number other others pair part photo photograph picture piece place right row scene set shot side "
    "something sort someone style time top type variety view way work"
)
ABSTRACT: Final = frozenset(_ABSTRACT.split())
"""Heads of chunks that no box can show (Kosmos-2 leaves out abstract nouns), and those that only count."""

ABSTRACT_CHINESE: Final = (
    "时候", "照片", "图片", "背景", "前面", "后面", "旁边", "中间", "样子", "时间", "自由", "爱"
)  # fmt: skip


class RuleChunker:
    """Chunks by closed word classes and endings, without a model (docs/grounding.md says what it cannot)."""

    id = "rules 1"

    def chunks(self, caption: str, language: str) -> list[Chunk]:
        """The chunks of an English or Chinese caption; ValueError for any other language."""
        if language == "en":
            found = _english(caption)
            kept = [(a, b) for a, b in found if _head(caption[a:b]) not in ABSTRACT]
        elif language == "zh":
            found = chinese(caption)
            kept = [(a, b) for a, b in found if not caption[a:b].endswith(ABSTRACT_CHINESE)]
        else:
            raise ValueError(f"chunks are known for en and zh, not for {language!r}")
        return [Chunk(start, end, start, end) for start, end in kept]


def _head(chunk: str) -> str:
    return chunk.replace("-", " ").split()[-1].lower()


_WORD: Final = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_GAP: Final = re.compile(r"[\s]+|\s*-\s*")
Place = tuple[int, int]
"""Characters: start, and past the end."""


def _english(caption: str) -> list[Place]:
    """(start, end) of each noun chunk, in order: an optional determiner, and the words up to its noun.

    A verb ends a chunk where its ending, its place or the list of frequent ones gives it away.
    """
    found = [
        (match.group().lower().replace("’", "'"), match.start(), match.end())
        for match in _WORD.finditer(caption)
    ]
    reader = _Reader(caption, found)
    for at in range(len(found)):
        reader.step(at)
    reader.close()
    return reader.chunks


class _Reader:
    """Goes through the words, and holds the chunk that is open."""

    def __init__(self, caption: str, found: list[tuple[str, int, int]]) -> None:
        self._caption, self._found = caption, found
        self._start: int | None = None
        self._end = 0
        self._content = 0
        self._singular = False
        self.chunks: list[Place] = []

    def step(self, at: int) -> None:
        """Take one word in."""
        word, start, end = self._found[at]
        if at and not _GAP.fullmatch(self._caption[self._found[at - 1][2] : start]):
            self.close()
        if word in ENGLISH.breaks or word.endswith("n't"):
            self.close()
        elif word in ENGLISH.determiners or word.isdigit():
            if self._content:
                self.close()
            self._open(start, word in ENGLISH.singular)
        elif self._is_verb(at, word):
            self.close()
        else:
            if self._start is None:
                self._open(start, False)
            self._content += 1
            self._end = end
            if word.endswith("'s"):
                # an owner: what is owned comes next
                self._singular = False

    def close(self) -> None:
        """End the open chunk, and keep it where it has a noun."""
        if self._start is not None and self._content:
            self.chunks.append((self._start, self._end))
        self._start, self._content, self._singular = None, 0, False

    def _open(self, start: int, singular: bool) -> None:
        if self._start is None:
            self._start = start
        self._singular = self._singular or singular

    def _is_verb(self, at: int, word: str) -> bool:
        """Whether the word ends the chunk before it rather than being a part of one."""
        following = self._following(at)
        ends = following is None or following in ENGLISH.breaks or following in ENGLISH.determiners
        if word.endswith("ly") and word not in ENGLISH.not_ly:
            return self._content > 0 or self._start is None
        if word.endswith("ing") and len(word) > 4 and word not in ENGLISH.nouns_ing:
            return self._content > 0 or self._start is None
        if word.endswith("ed") and len(word) > 3 and word not in ENGLISH.not_ed:
            return ends and (self._content > 0 or self._start is None)
        if word in ENGLISH.irregular:
            return self._content > 0 or self._start is None
        if not self._content:
            return False
        if word in ENGLISH.verbs:
            return ends
        if word.endswith("s") and not word.endswith(("ss", "us", "is", "'s")):
            known = word[:-1] in ENGLISH.verbs or (word.endswith("es") and word[:-2] in ENGLISH.verbs)
            return known or (self._singular and ends)
        return False

    def _following(self, at: int) -> str | None:
        """The next word, unless a mark stands between."""
        if at + 1 >= len(self._found):
            return None
        word, start, _ = self._found[at + 1]
        return word if _GAP.fullmatch(self._caption[self._found[at][2] : start]) else None


_LONGEST: Final = 16
"""Characters: what is longer is a clause that no known word divides."""


def chinese(caption: str) -> list[Place]:
    """(start, end) of each noun chunk, in order.

    A numeral with its classifier begins a chunk; function words, verbs and marks end one; 的 joins.
    """
    ends = sorted({*CHINESE.breaks, *CHINESE.verbs}, key=lambda word: (-len(word), word))
    chunks: list[Place] = []
    start = at = 0
    while at < len(caption):
        inside = _one_of(caption, at, CHINESE.compounds)
        numbered = _numeral(caption, at)
        stop = 0 if inside or numbered else _one_of(caption, at, ends)
        if numbered or stop:
            _add(chunks, caption, start, at)
            start = at if numbered else at + stop
        at += inside or numbered or stop or 1
    _add(chunks, caption, start, len(caption))
    return chunks


def _add(chunks: list[Place], caption: str, start: int, end: int) -> None:
    while start < end and caption[start] in "的地得":
        start += 1
    while end > start and caption[end - 1] in "的地得":
        end -= 1
    own = caption[start + _numeral(caption, start) : end]
    # 一个 alone counts something that is not said
    if own and len(own) <= _LONGEST and any("\u4e00" <= one <= "\u9fff" for one in own):
        chunks.append((start, end))


def _one_of(caption: str, at: int, words: tuple[str, ...] | list[str]) -> int:
    """The length of the longest of `words` that stands at `at`, or 0."""
    return max((len(word) for word in words if caption.startswith(word, at)), default=0)


def _numeral(caption: str, at: int) -> int:
    """The length of a numeral with its classifier at `at`, or 0."""
    end = at
    while end < len(caption) and caption[end] in CHINESE.numerals:
        end += 1
    if end == at:
        return 0
    size = _one_of(caption, end, CHINESE.classifiers)
    return end + size - at if size else 0
