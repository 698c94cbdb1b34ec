"""Chunks and referring expressions from a dependency tree, as spaCy's pipelines give it."""

import importlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from filters.chunks import ABSTRACT, ABSTRACT_CHINESE, Chunk, Chunker, RuleChunker
from schemas.errors import ModelError, missing
from schemas.ground import GroundSettings

_NOUNS: Final = ("NOUN", "PROPN")
_INNER: Final = frozenset(
    ("det", "nummod", "clf", "mark:clf", "amod", "compound", "nmod", "nmod:assmod", "poss", "case")
)
"""What may stand before a noun within its chunk."""
_JOINED: Final = ("cc", "conj")
_APART: Final = ("cc", "conj", "punct", "appos", "parataxis")


class Word(NamedTuple):
    """A token: its characters, its part of speech (Universal), its relation, and the number of its head."""

    start: int
    end: int
    pos: str
    relation: str
    head: int


class Nominal(NamedTuple):
    """A noun chunk as tokens `first` to `last`, both included, around the noun `root`."""

    first: int
    last: int
    root: int


def nominals(words: Sequence[Word], inner: frozenset[str] = _INNER) -> list[Nominal]:
    """Chunks by the tree alone, for languages of which spaCy knows no noun chunks.

    A chunk is a noun with the unbroken run before it of words that hang on it, themselves or through one another.
    """
    found = []
    for at, word in enumerate(words):
        inside = word.relation.startswith(("compound", "nmod")) and word.head > at
        if word.pos not in _NOUNS or inside:
            continue
        first = at
        while first and _hangs(words, first - 1, at, inner):
            first -= 1
        found.append(Nominal(first, at, at))
    return found


def expanded(words: Sequence[Word], chunk: Nominal) -> tuple[int, int]:
    """(first, last) token of the referring expression: the chunk, with all that hangs on its noun.

    The unbroken run around the chunk. As Kosmos-2 does (arXiv 2306.14824, section 2), a chunk with conjuncts
    stays as it is.
    """
    children = [word.relation for word in words if word.head == chunk.root]
    if any(relation in _JOINED for relation in children):
        return chunk.first, chunk.last
    below = _below(words, chunk.root)
    first, last = chunk.first, chunk.last
    while first - 1 in below:
        first -= 1
    while last + 1 in below:
        last += 1
    return first, last


def _below(words: Sequence[Word], root: int) -> set[int]:
    """Tokens that hang on `root` through relations that belong to one expression."""
    below = {root}
    grown = True
    while grown:
        more = {
            at
            for at, word in enumerate(words)
            if at not in below and word.head in below and not word.relation.startswith(_APART)
        }
        grown = bool(more)
        below |= more
    return below


def _hangs(words: Sequence[Word], at: int, root: int, inner: frozenset[str]) -> bool:
    """Whether `at` hangs on `root` through words between the two."""
    # a damaged tree may go round in a circle
    for _ in range(len(words)):
        word = words[at]
        # Chinese 的 and prepositions share a relation: the former joins, the latter stands before the chunk
        if word.relation not in inner or word.pos == "ADP" or word.head > root:
            return False
        at = word.head
        if at == root:
            return True
    return False


class TreeChunker:
    """Chunks by one spaCy pipeline."""

    def __init__(self, pipeline: Any, language: str, expand: bool = True) -> None:
        meta = pipeline.meta
        self.id = f"spacy {meta['lang']}_{meta['name']} {meta['version']}"
        self._pipeline, self._language, self._expand = pipeline, language, expand

    def chunks(self, caption: str, language: str) -> list[Chunk]:
        """The chunks of a caption, grown to expressions where that is asked for."""
        return tree_chunks(self._pipeline(caption), caption, self._language, self._expand)


def tree_chunks(document: Any, caption: str, language: str, expand: bool) -> list[Chunk]:
    """The chunks of a spaCy document that was parsed."""
    words = [Word(t.idx, t.idx + len(t), t.pos_, t.dep_, t.head.i) for t in document]
    try:
        found = [Nominal(span.start, span.end - 1, span.root.i) for span in document.noun_chunks]
    except NotImplementedError:
        found = nominals(words)
    chunks = []
    for one in found:
        noun = caption[words[one.root].start : words[one.root].end].lower()
        if words[one.root].pos not in _NOUNS or noun in ABSTRACT or noun.endswith(ABSTRACT_CHINESE):
            continue
        first, last = expanded(words, one) if expand else (one.first, one.last)
        chunks.append(Chunk(words[one.first].start, words[one.last].end, words[first].start, words[last].end))
    return chunks


def load_chunkers(settings: GroundSettings) -> dict[str, Chunker]:
    """Returns a chunker for each language that is grounded. Raises ModelError for one that is not installed."""
    if settings.chunker == "rules":
        return {language: RuleChunker() for language in settings.languages}
    return {
        language: TreeChunker(_spacy(settings, language), language, settings.expand)
        for language in settings.languages
    }


def _spacy(settings: GroundSettings, language: str) -> Any:
    name = settings.pipelines.get(language)
    if name is None:
        raise ModelError(
            f"no spaCy pipeline is named for {language}: add ground.pipelines.{language}, or chunker: rules"
        )
    try:
        spacy = importlib.import_module("spacy")
    except ImportError as error:
        sentence = missing("chunker spacy", "spacy", ours=False)
        raise ModelError(f"{sentence}; or say chunker: rules") from error
    try:
        pipeline = spacy.load(name)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"spaCy has no pipeline {name} for {language}: python -m spacy download {name}, or say chunker: rules"
        ) from error
    if not pipeline.has_pipe("parser"):
        raise ModelError(
            f"the spaCy pipeline {name} parses no sentences: name one with a parser, or chunker: rules"
        )
    return pipeline
