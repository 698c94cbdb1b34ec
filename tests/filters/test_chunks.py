"""Noun chunks by rules and by the tree: offsets that fit, nouns that people link, expressions that grow."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.chunk_tree import Nominal, Word, expanded, load_chunkers, nominals
from filters.chunks import RuleChunker
from schemas.errors import ModelError
from schemas.ground import DetectorSettings, GroundSettings


def said(caption: str, language: str = "en") -> list[str]:
    """The chunks' words."""
    return [caption[one.start : one.end] for one in RuleChunker().chunks(caption, language)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man riding a brown horse on the beach.", ["A man", "a brown horse", "the beach"]),
        ("A camera sits on a tripod connected to a laptop.", ["A camera", "a tripod", "a laptop"]),
        ("Two dogs and three cats", ["Two dogs", "three cats"]),
        ("A woman's hat hangs from the wooden chair", ["A woman's hat", "the wooden chair"]),
        ("A man dressed in black holds his phone", ["A man", "black", "his phone"]),
        ("a parking meter next to a stop sign", ["a parking meter", "a stop sign"]),
        ("She is very happily singing", []),
        ("the top of the hill", ["the hill"]),
        ("", []),
        ("…!?", []),
    ],
)
def test_english_chunks_are_nouns_with_what_stands_before_them(caption: str, expected: list[str]) -> None:
    """Verbs, prepositions and marks end a chunk; abstract heads are none."""
    assert said(caption) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("一只棕色的狗坐在沙发上", ["一只棕色的狗", "沙发"]),
        ("桌子上有两个苹果和一杯咖啡。", ["桌子", "两个苹果", "一杯咖啡"]),
        ("女孩在海边玩飞盘", ["女孩", "海边", "飞盘"]),
        ("街道上停着几辆汽车", ["街道", "几辆汽车"]),
        ("", []),
    ],
)
def test_chinese_chunks_are_what_stands_between_function_words(caption: str, expected: list[str]) -> None:
    """Numerals with classifiers begin a chunk, function words and verbs end one."""
    assert said(caption, "zh") == expected


@given(st.text(max_size=60), st.sampled_from(("en", "zh")))
def test_offsets_fit_any_text(caption: str, language: str) -> None:
    """Chunks are in order, apart, within the caption, and no white space hangs on them."""
    at = 0
    for one in RuleChunker().chunks(caption, language):
        assert at <= one.start < one.end <= len(caption)
        assert caption[one.start : one.end] == caption[one.start : one.end].strip()
        assert (one.start, one.end) == (one.whole_start, one.whole_end)
        at = one.end


def test_another_language_is_refused() -> None:
    """Rules are known for English and Chinese only."""
    with pytest.raises(ValueError, match="en and zh"):
        RuleChunker().chunks("ein Hund", "de")


def test_most_phrases_that_people_linked_are_chunks(test_data: Path) -> None:
    """Of the linked phrases of COCO captions the head noun is a chunk's head in 95 % and more."""
    phrases = heads = exact = 0
    with (test_data / "grounding" / "grounding.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            chunks = RuleChunker().chunks(record["caption"], "en")
            for phrase in record["phrases"]:
                if "end" in phrase:
                    phrases += 1
                    heads += any(one.end == phrase["end"] for one in chunks)
                    exact += any((one.start, one.end) == (phrase["start"], phrase["end"]) for one in chunks)
    assert phrases > 500
    assert heads / phrases > 0.95
    assert exact / phrases > 0.8


def parsed(text: str, *told: tuple[str, str, int]) -> list[Word]:
    """Words of a sentence by spaces, each with (part of speech, relation, head)."""
    words, at = [], 0
    for token, (pos, relation, head) in zip(text.split(), told, strict=True):
        words.append(Word(at, at + len(token), pos, relation, head))
        at += len(token) + 1
    return words


FIELD = parsed(
    "a dog in a field of flowers runs",
    ("DET", "det", 1),
    ("NOUN", "nsubj", 7),
    ("ADP", "prep", 1),
    ("DET", "det", 4),
    ("NOUN", "pobj", 2),
    ("ADP", "prep", 4),
    ("NOUN", "pobj", 5),
    ("VERB", "ROOT", 7),
)


def test_a_chunk_grows_by_what_hangs_on_its_noun() -> None:
    """Kosmos-2's own example: `a dog` becomes `a dog in a field of flowers`, `a field` its part."""
    assert expanded(FIELD, Nominal(0, 1, 1)) == (0, 6)
    assert expanded(FIELD, Nominal(3, 4, 4)) == (3, 6)
    assert expanded(FIELD, Nominal(6, 6, 6)) == (6, 6)


def test_a_chunk_with_conjuncts_stays_as_it_is() -> None:
    """`a dog and a cat on grass` does not become one expression."""
    words = parsed(
        "a dog and a cat on grass",
        ("DET", "det", 1),
        ("NOUN", "ROOT", 1),
        ("CCONJ", "cc", 1),
        ("DET", "det", 4),
        ("NOUN", "conj", 1),
        ("ADP", "prep", 4),
        ("NOUN", "pobj", 5),
    )
    assert expanded(words, Nominal(0, 1, 1)) == (0, 1)
    assert expanded(words, Nominal(3, 4, 4)) == (3, 6)


def test_chunks_are_read_off_a_tree_without_noun_chunks() -> None:
    """As in Chinese: a noun with the unbroken run before it that hangs on it; parts of compounds are none."""
    words = parsed(
        "一 只 棕色 的 狗 坐 在 沙发 上",
        ("NUM", "nummod", 4),
        ("NUM", "mark:clf", 0),
        ("NOUN", "nmod:assmod", 4),
        ("PART", "case", 2),
        ("NOUN", "nsubj", 5),
        ("VERB", "ROOT", 5),
        ("ADP", "case", 7),
        ("NOUN", "nmod:prep", 5),
        ("PART", "case", 7),
    )
    assert nominals(words) == [Nominal(0, 4, 4), Nominal(7, 7, 7)]


@given(
    st.lists(st.tuples(st.sampled_from(("NOUN", "VERB", "DET")), st.integers(0, 7)), min_size=1, max_size=8)
)
def test_any_tree_ends(told: list[tuple[str, int]]) -> None:
    """Damaged trees (circles, heads from elsewhere) give chunks within the sentence, and an end."""
    words = [
        Word(2 * at, 2 * at + 1, pos, "compound" if head % 2 else "nmod", head % len(told))
        for at, (pos, head) in enumerate(told)
    ]
    for one in nominals(words):
        first, last = expanded(words, one)
        assert 0 <= first <= one.first <= one.last <= last < len(words)


def settings(chunker: str, name: str = "no_such_pipeline") -> GroundSettings:
    """Settings that ask for a chunker."""
    detector = DetectorSettings(model="colours")
    return GroundSettings.model_validate(
        {"detector": detector, "chunker": chunker, "pipelines": {"en": name}}
    )


def test_auto_means_rules_whatever_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where spaCy and its pipeline are installed `auto` still takes the rules: equal recipes give equal bytes."""
    installed = SimpleNamespace(load=lambda name: pytest.fail("a pipeline is loaded that nobody asked for"))
    monkeypatch.setitem(sys.modules, "spacy", installed)
    assert settings("auto") == settings("rules")
    assert load_chunkers(settings("auto"))["en"].id == "rules 1"


def test_spacy_says_what_is_missing() -> None:
    """A pipeline that is asked for and not installed is a sentence with the remedy."""
    with pytest.raises(ModelError, match="chunker: rules"):
        load_chunkers(settings("spacy"))
