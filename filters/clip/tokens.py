"""Captions as tokens of a tokenizer of open_clip, and which of them did not fit.

Captions as the tokens of a CLIP, by byte pairs: those of open_clip's SimpleTokenizer, without torch.

The text is cleaned and split into words as open_clip does; merging is the `tokenizers` library's.
"""

import gzip
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ftfy
import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped]
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from filters.clip.towers import Tokens

_SLACK: Final = 8


def tokenize(tokenizer: Any, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
    """((N, context) tokens, (N,) whether the tokenizer cut the caption), by the tokenizer's own rule.

    open_clip's tokenizers cut without a word. A caption was cut where a little more room gives it
    more tokens; only captions that fill their room are asked again.
    """
    if not captions:
        return np.zeros((0, int(tokenizer.context_length)), np.int64), np.zeros(0, np.bool_)
    tokens: Tokens = tokenizer(list(captions)).numpy().astype(np.int64)
    pad = padding(tokenizer)
    full = np.flatnonzero((tokens[:, -2:] != pad).any(1))
    cut = np.zeros(len(captions), np.bool_)
    if len(full):
        room = int(tokenizer.context_length) + _SLACK
        longer: Tokens = tokenizer([captions[row] for row in full.tolist()], context_length=room).numpy()
        cut[full] = (longer != pad).sum(1) > (tokens[full] != pad).sum(1)
    return tokens, cut


def padding(tokenizer: Any) -> int:
    """The token that fills the rest of a row: 0 in open_clip's own tokenizer, any in a Hugging Face one."""
    inner = getattr(tokenizer, "tokenizer", None)
    pad = getattr(inner, "pad_token_id", None)
    return 0 if pad is None else int(pad)


START: Final = "<start_of_text>"
END: Final = "<end_of_text>"
_WORD_END: Final = "</w>"

_WORD: Final = regex.compile(
    rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE
)


class BytePairs:
    """A tokenizer of `context` tokens with the merges of a gzipped file."""

    def __init__(self, merges: Path, context: int) -> None:
        lines = gzip.decompress(merges.read_bytes()).decode().split("\n")[1:]
        pairs = [(first, second) for first, second in (line.split() for line in lines)]
        letters = sorted(ByteLevel.alphabet())
        vocabulary = [*letters, *(letter + _WORD_END for letter in letters)]
        vocabulary += ["".join(pair) for pair in pairs] + [START, END]
        numbers = {token: number for number, token in enumerate(vocabulary)}
        self._context = context
        self._tokenizer = Tokenizer(BPE(numbers, pairs, end_of_word_suffix=_WORD_END))
        self._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        special = [AddedToken(token, normalized=False, special=True) for token in (START, END)]
        self._tokenizer.add_special_tokens(special)
        self._tokenizer.post_processor = TemplateProcessing(
            single=f"{START} $A {END}", special_tokens=[(token, numbers[token]) for token in (START, END)]
        )
        self._tokenizer.enable_truncation(context)

    def __call__(self, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
        """Returns ((N, context) int64 tokens, 0 after the end, (N,) whether a caption was cut)."""
        tokens = np.zeros((len(captions), self._context), np.int64)
        cut = np.zeros(len(captions), np.bool_)
        for row, caption in enumerate(captions):
            encoding = self._tokenizer.encode(words(caption), is_pretokenized=True)
            tokens[row, : len(encoding.ids)] = encoding.ids
            cut[row] = bool(encoding.overflowing)
        return tokens, cut


def words(text: str) -> list[str]:
    """Returns the words and signs of a text, cleaned as CLIP was taught: mended, unescaped, in lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return list(_WORD.findall(" ".join(text.split()).lower()))
