"""Captions as tokens of a tokenizer of open_clip, and which of them did not fit."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

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
