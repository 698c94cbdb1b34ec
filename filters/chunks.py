"""Noun chunks of a caption, by character offsets: what a detector is asked to find."""

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
    "时候",
    "照片",
    "图片",
    "背景",
    "前面",
    "后面",
    "旁边",
    "中间",
    "样子",
    "时间",
    "自由",
    "爱",
)


class RuleChunker:
    """Chunks by closed word classes and endings, without a model (docs/grounding.md says what it cannot)."""

    id = "rules 1"

    def chunks(self, caption: str, language: str) -> list[Chunk]:
        """The chunks of an English or Chinese caption; ValueError for any other language."""
        from filters.chunk_chinese import chinese
        from filters.chunk_english import english

        if language == "en":
            found = english(caption, ENGLISH)
            kept = [(a, b) for a, b in found if _head(caption[a:b]) not in ABSTRACT]
        elif language == "zh":
            found = chinese(caption, CHINESE)
            kept = [(a, b) for a, b in found if not caption[a:b].endswith(ABSTRACT_CHINESE)]
        else:
            raise ValueError(f"chunks are known for en and zh, not for {language!r}")
        return [Chunk(start, end, start, end) for start, end in kept]


def _head(chunk: str) -> str:
    return chunk.replace("-", " ").split()[-1].lower()
