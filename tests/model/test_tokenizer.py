"""Text to ids and back."""

import base64
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import tokenizer as tokenizers
from model.tokenizer import TagTokenizer
from schemas.errors import RecipeError
from schemas.markup import Piece, unescape
from tests.model.corpora import TASKS, examples, tokenizer


@given(st.text())
def test_round_trip(text: str) -> None:
    """Any NFC text comes back from its ids, tags that it spells as text."""
    import unicodedata

    normal = unicodedata.normalize("NFC", text)
    own = tokenizer()
    ids = own.encode(normal)
    assert all(number < own.base for number in ids)
    assert unescape(own.decode(ids)) == normal


@given(st.lists(st.sampled_from(["<ref>", "</ref>", "<box>", "<|im_end|>", "red ", "<", "ref>"]), max_size=6))
def test_spelled_tags(parts: list[str]) -> None:
    """Text that spells tags has no tag's id, and tags have one id each."""
    own = tokenizer()
    assert all(number < own.base for number in own.encode("".join(parts)))
    for part in parts:
        if part in own.ids:
            assert own.encode_piece(Piece(part, "tag"), 4) == [own.ids[part]]


@given(st.text("0123456789(),. a", max_size=30))
def test_digits_single(text: str) -> None:
    """Each digit is a token of its own."""
    own = tokenizer()
    for number in own.encode(text):
        piece = own.decode([number])
        assert len(piece) == 1 or not any(letter.isdecimal() for letter in piece)


def test_layout() -> None:
    """Above Qwen's 151,643 tokens the marks and tags have Qwen's ids."""
    ids = TagTokenizer(tokenizer().bpe, 151_643).ids
    assert ids["<|endoftext|>"] == 151_643
    assert (ids["<|im_start|>"], ids["<|im_end|>"]) == (151_644, 151_645)
    assert (ids["<|extra_0|>"], ids["<|extra_204|>"]) == (151_646, 151_850)
    assert (ids["<ref>"], ids["</quad>"], ids["<img>"], ids["</img>"], ids["<imgpad>"]) == (
        151_851, 151_856, 151_857, 151_858, 151_859,
    )  # fmt: skip


def test_picture_span() -> None:
    """An image is its two tags with the queries' places between."""
    own = tokenizer()
    ids = own.encode_piece(Piece("<img>0</img>", "image", image=0), 256)
    assert len(ids) == 258
    assert ids == [own.ids["<img>"], *[own.pad] * 256, own.ids["</img>"]]


def test_twins() -> None:
    """The pairs are the tokens that differ by the space before them, and all of those."""
    own = tokenizer()
    texts = {at: own.bpe.decode([at]) for at in range(own.base)}
    assert own.twins
    for plain, spaced in own.twins:
        assert texts[spaced] == " " + texts[plain]
    by_text = {text: at for at, text in texts.items()}
    wanted = {
        at for text, at in by_text.items() if text[:1] == " " and text[1:].isalpha() and text[1:] in by_text
    }
    assert wanted <= {spaced for _, spaced in own.twins}


def test_training_repeats() -> None:
    """The same texts give the same tokenizer."""
    texts = [one.text for task in TASKS for one in examples(task, 36)]
    first, second = (tokenizers.train(texts, 340, 0) for _ in range(2))
    assert first.bpe.to_str() == second.bpe.to_str()


def test_saved(tmp_path: Path) -> None:
    """A saved tokenizer gives the same ids."""
    own = tokenizer()
    own.save(tmp_path)
    again = tokenizers.load(tmp_path)
    assert (again.base, again.extras, again.ids) == (own.base, own.extras, own.ids)
    assert again.encode("a red circle 12 <ref>") == own.encode("a red circle 12 <ref>")


def _ranks() -> dict[bytes, int]:
    """A vocabulary as BPE makes one: bytes, then joins of two that are there."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    for joined in (
        b"re",
        b"ci",
        b"le",
        b" a",
        b"red",
        b" c",
        b"cir",
        b"circ",
        b"circle",
        b" circ",
        "红".encode()[:2],
    ):
        ranks[joined] = len(ranks)
    ranks["红".encode()] = len(ranks)
    return ranks


def _slow(ranks: dict[bytes, int], word: bytes) -> list[int]:
    """tiktoken's rule: join the neighbours whose union ranks lowest, the first of equals."""
    parts = [bytes([byte]) for byte in word]
    while True:
        joins = [(ranks[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not joins:
            return [ranks[part] for part in parts]
        _, at = min(joins)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def _file(folder: Path, ranks: dict[bytes, int]) -> Path:
    path = folder / "qwen.tiktoken"
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()))
    return path


def test_tiktoken_file(tmp_path: Path) -> None:
    """A file of Qwen's format tokenises as tiktoken's rule does, with the layout above it."""
    ranks = _ranks()
    own = tokenizers.load(_file(tmp_path, ranks))
    assert own.ids["<|endoftext|>"] == len(ranks)
    for word in (" a", "red", "circle", " circle", "circlecircle", "红红", "recircleredcirc", "lecile"):
        assert own.encode(word) == _slow(ranks, word.encode()), word


@pytest.mark.parametrize("text", [b"", b"YQ==\n", b"!! 0\n", b"YQ== 7\n"])
def test_wrong_tiktoken_file(tmp_path: Path, text: bytes) -> None:
    """A file that is no byte-level vocabulary is refused with a sentence."""
    path = tmp_path / "qwen.tiktoken"
    path.write_bytes(text)
    with pytest.raises(RecipeError, match=r"qwen\.tiktoken"):
        tokenizers.load(path)
