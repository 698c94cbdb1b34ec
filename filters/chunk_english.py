"""English noun chunks by closed word classes and endings."""

import re
from typing import Final

from filters.chunk_words import EnglishWords

_WORD: Final = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_GAP: Final = re.compile(r"[\s]+|\s*-\s*")
Place = tuple[int, int]


def english(caption: str, words: EnglishWords) -> list[Place]:
    """(start, end) of each noun chunk, in order: an optional determiner, and the words up to its noun.

    A verb ends a chunk where its ending, its place or the list of frequent ones gives it away.
    """
    found = [
        (match.group().lower().replace("’", "'"), match.start(), match.end())
        for match in _WORD.finditer(caption)
    ]
    reader = _Reader(caption, words, found)
    for at in range(len(found)):
        reader.step(at)
    reader.close()
    return reader.chunks


class _Reader:
    """Goes through the words, and holds the chunk that is open."""

    def __init__(self, caption: str, words: EnglishWords, found: list[tuple[str, int, int]]) -> None:
        self._caption, self._words, self._found = caption, words, found
        self._start: int | None = None
        self._end = 0
        self._content = 0
        self._singular = False
        self.chunks: list[Place] = []

    def step(self, at: int) -> None:
        """Take one word in."""
        word, start, end = self._found[at]
        words = self._words
        if at and not _GAP.fullmatch(self._caption[self._found[at - 1][2] : start]):
            self.close()
        if word in words.breaks or word.endswith("n't"):
            self.close()
        elif word in words.determiners or word.isdigit():
            if self._content:
                self.close()
            self._open(start, word in words.singular)
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
        ends = following is None or following in self._words.breaks or following in self._words.determiners
        if word.endswith("ly") and word not in self._words.not_ly:
            return self._content > 0 or self._start is None
        if word.endswith("ing") and len(word) > 4 and word not in self._words.nouns_ing:
            return self._content > 0 or self._start is None
        if word.endswith("ed") and len(word) > 3 and word not in self._words.not_ed:
            return ends and (self._content > 0 or self._start is None)
        if word in self._words.irregular:
            return self._content > 0 or self._start is None
        if not self._content:
            return False
        if word in self._words.verbs:
            return ends
        if word.endswith("s") and not word.endswith(("ss", "us", "is", "'s")):
            known = word[:-1] in self._words.verbs or (word.endswith("es") and word[:-2] in self._words.verbs)
            return known or (self._singular and ends)
        return False

    def _following(self, at: int) -> str | None:
        """The next word, unless a mark stands between."""
        if at + 1 >= len(self._found):
            return None
        word, start, _ = self._found[at + 1]
        return word if _GAP.fullmatch(self._caption[self._found[at][2] : start]) else None
