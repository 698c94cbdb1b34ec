"""Text to token ids and back: byte-level BPE below, tags above, and never one taken for the other.

The library's tokenizer knows no special tokens at all, so words that spell a tag are words; tags come
in through `Piece.kind` alone. The layout above the BPE is Qwen's: 3 ChatML marks, the reserved ones, 9 tags.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from schemas.errors import RecipeError
from schemas.markup import Piece, escape

EXTRAS: Final = 205
"""Reserved tokens between the ChatML marks and the tags, in Qwen's own layout."""

MARKS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS: Final = (
    "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>",
)  # fmt: skip

# words with one sign before them, single digits, runs of signs, line ends, spaces: the published split
PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_HAN: Final = r"\p{Han}"

_FILE: Final = "tokenizer.json"
_LAYOUT: Final = "tokenizer_layout.json"
_LIMIT: Final = 64 << 20


@dataclass(frozen=True)
class TagTokenizer:
    """Byte-level BPE of `base` tokens with the tags' ids above it."""

    bpe: Tokenizer
    base: int
    extras: int = EXTRAS

    @cached_property
    def ids(self) -> dict[str, int]:
        """Returns the id of every mark and tag."""
        reserved = [f"<|extra_{number}|>" for number in range(self.extras)]
        return {tag: self.base + at for at, tag in enumerate([*MARKS, *reserved, *TAGS])}

    @cached_property
    def _names(self) -> dict[int, str]:
        return {number: tag for tag, number in self.ids.items()}

    @property
    def size(self) -> int:
        """Returns how many ids there are; a model's table may be larger."""
        return self.base + len(self.ids)

    @property
    def end(self) -> int:
        """Returns the id of <|endoftext|>: the end of a document, and padding."""
        return self.ids["<|endoftext|>"]

    @property
    def pad(self) -> int:
        """Returns the id of <imgpad>: the place of one of an image's tokens."""
        return self.ids["<imgpad>"]

    def encode(self, text: str) -> list[int]:
        """Returns the ids of plain text; what spells a tag in it stays text."""
        return list(self.bpe.encode(text, add_special_tokens=False).ids)

    def encode_piece(self, piece: Piece, queries: int) -> list[int]:
        """Returns the ids of a piece: a tag is one, an image is `queries` places between its two tags."""
        if piece.kind == "text":
            return self.encode(piece.text)
        if piece.kind == "tag":
            return [self.ids[piece.text]]
        return [self.ids["<img>"], *[self.pad] * queries, self.ids["</img>"]]

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids` as markup: tags as they are written, text that spells one escaped.

        Bytes that are no UTF-8 become U+FFFD, ids beyond the layout nothing.
        """
        return "".join(self._decoded(ids))

    def _decoded(self, ids: Sequence[int]) -> Iterator[str]:
        run: list[int] = []
        for number in [*ids, self.size]:
            if number < self.base:
                run.append(number)
                continue
            if run:
                yield escape(self.bpe.decode(run, skip_special_tokens=False))
                run = []
            yield self._names.get(number, "")

    @cached_property
    def twins(self) -> tuple[tuple[int, int], ...]:
        """Returns the ids of each word and of the same word with a space before it, where both are tokens."""
        words = self.bpe.get_vocab()
        space = _CHARACTERS[ord(" ")]
        found = ((words.get(word.removeprefix(space)), at) for word, at in words.items() if word[0] == space)
        return tuple(sorted((plain, spaced) for plain, spaced in found if plain is not None))

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json, which the tokenizers library reads, and the layout above it."""
        layout = {"base": self.base, "extras": self.extras}
        (folder / _FILE).write_text(self.bpe.to_str(pretty=False), "utf-8")
        (folder / _LAYOUT).write_text(json.dumps(layout, sort_keys=True) + "\n", "utf-8")


def load(path: Path) -> TagTokenizer:
    """Returns the tokenizer that `save` left in a folder, or that a file of Qwen's tiktoken format spells."""
    if path.is_file():
        ranks = read_ranks(path)
        spelled = {_characters(token): rank for token, rank in ranks.items()}
        pairs = [(_characters(left), _characters(right)) for left, right in merges(ranks)]
        return TagTokenizer(_library(models.BPE(spelled, pairs)), len(ranks))
    layout_path, file = path / _LAYOUT, path / _FILE
    if not layout_path.is_file() or not file.is_file():
        raise RecipeError(f"{path} holds no tokenizer: {_FILE} and {_LAYOUT} are needed")
    try:
        layout = json.loads(layout_path.read_text("utf-8"))
        return TagTokenizer(Tokenizer.from_file(str(file)), int(layout["base"]), int(layout["extras"]))
    # the tokenizers library raises nothing narrower
    except Exception as error:
        raise RecipeError(f"{path} holds a damaged tokenizer: {error}") from error


def counting(path: Path) -> TagTokenizer:
    """Returns a tokenizer to count tokens with: what `load` reads, or any tokenizer.json of the tokenizers library.

    Raises RecipeError where there is none.
    """
    if not path.exists():
        raise RecipeError(f"{path} does not exist: give a folder with {_FILE}, or Qwen's tiktoken file")
    if path.is_file() or (path / _LAYOUT).is_file():
        return load(path)
    file = path / _FILE
    if not file.is_file() or file.stat().st_size > _LIMIT:
        raise RecipeError(f"{path} holds no tokenizer: a {_FILE} of at most {_LIMIT >> 20} MiB is needed")
    try:
        bpe = Tokenizer.from_file(str(file))
    # the tokenizers library raises nothing narrower
    except Exception as error:
        raise RecipeError(f"{path} holds a damaged tokenizer: {error}") from error
    # a length that suits another model would cut what is counted
    bpe.no_truncation()
    bpe.no_padding()
    return TagTokenizer(bpe, bpe.get_vocab_size(), 0)


def train(texts: Iterable[str], base: int, extras: int = EXTRAS) -> TagTokenizer:
    """Returns a tokenizer of at most `base` BPE tokens learned from `texts`; the same texts give the same one.

    Han characters stand alone: their words have no bounds, and a small corpus says the same sentences so
    often that whole ones would become one token, with nothing in common with the words they are made of.
    """
    bpe = _library(models.BPE())
    usual = bpe.pre_tokenizer
    alone = pre_tokenizers.Split(Regex(_HAN), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([alone, *_split()])
    trainer = trainers.BpeTrainer(
        vocab_size=base,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[],
    )
    bpe.train_from_iterator(texts, trainer)
    # no merge crosses a character now, so the usual split gives the same tokens
    bpe.pre_tokenizer = usual
    return TagTokenizer(bpe, bpe.get_vocab_size(), extras)


def _library(model: models.BPE) -> Tokenizer:
    bpe = Tokenizer(model)
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(_split())
    bpe.decoder = decoders.ByteLevel()
    return bpe


def _split() -> list[pre_tokenizers.PreTokenizer]:
    """Returns the published split, then bytes."""
    return [
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


def _alphabet() -> dict[int, str]:
    """Returns the printable character that stands for each byte (GPT-2's table)."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in set(kept)]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + at) for at, byte in enumerate(moved)}


_CHARACTERS: Final = _alphabet()


def _characters(token: bytes) -> str:
    return "".join(_CHARACTERS[byte] for byte in token)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Returns each token's bytes and rank, ranks being 0 .. n - 1; raises RecipeError with the line that is wrong."""
    if path.stat().st_size > _LIMIT:
        raise RecipeError(f"{path} is too large for a vocabulary")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise RecipeError(f"{path}, line {number}: not `base64 rank`") from error
    whole = sorted(ranks.values()) == list(range(len(ranks)))
    if not ranks or not whole or not all(bytes([byte]) in ranks for byte in range(256)):
        raise RecipeError(f"{path} is no byte-level vocabulary: ranks must be 0 .. n - 1 and hold every byte")
    return ranks


def merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Returns every pair of tokens that together are a token, by that token's rank.

    tiktoken joins the neighbours whose union ranks lowest, whatever pair they are; so all pairs are merges.
    """
    found = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                found.append((rank, ranks[left], left, right))
    found.sort(key=lambda one: one[:2])
    return [(left, right) for _, _, left, right in found]
