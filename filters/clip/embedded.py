"""The scorer that comes with the package, run by onnxruntime on a CPU.

Its captions are tokens by byte pairs: cleaned and split into words as open_clip's SimpleTokenizer does, without torch;
merging is the `tokenizers` library's.
"""

import gzip
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ftfy
import numpy as np
import numpy.typing as npt
import onnxruntime
import regex  # type: ignore[import-untyped]
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from filters.clip.preprocess import Pixels, Preprocess
from filters.clip.scorer import Landing, Tokens, Vectors
from filters.clip.source import CONFIG, DRAFTED, FOLDER, IMAGE, MERGES, TEXT, WEIGHTS
from schemas.clip import EMBEDDED, ScorerSettings
from schemas.errors import ModelError

_FILES: Final = (CONFIG, WEIGHTS, MERGES, IMAGE, TEXT)

_PART: Final = 16
"""Rows computed at once: what lies between two layers stays in a core's cache (64 take 1.4 times as long)."""


class EmbeddedTowers:
    """The towers of filters/embedded in fp32. Raises ModelError for a device other than a CPU."""

    def __init__(self, settings: ScorerSettings, device: str) -> None:
        if device not in ("auto", "cpu"):
            raise ModelError(f"the embedded scorer runs on a CPU: ask for cpu or auto, not {device!r}")
        config = json.loads((FOLDER / CONFIG).read_text(encoding="utf-8"))
        self.id = f"{EMBEDDED}@{_digest()}{DRAFTED if settings.draft else ''}"
        self.preprocess = Preprocess.of(config["preprocess_cfg"], settings.draft)
        self._tokenizer = BytePairs(FOLDER / MERGES, config["model_cfg"]["text_cfg"]["context_length"])
        self._image = _session(FOLDER / IMAGE, settings.threads)
        self._text = _session(FOLDER / TEXT, settings.threads)

    @property
    def build(self) -> dict[str, str]:
        """See Towers."""
        return {"device": "cpu", "precision": "fp32", "onnxruntime": onnxruntime.__version__}

    def tokenize(self, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
        """See Towers."""
        return self._tokenizer(captions)

    def encode_images(self, pixels: Pixels) -> Landing:
        """See Towers; the batch has landed when this returns."""
        return _landed(self._image, pixels)

    def encode_texts(self, tokens: Tokens) -> Landing:
        """See Towers; the batch has landed when this returns."""
        return _landed(self._text, tokens)


def _landed(session: onnxruntime.InferenceSession, rows: npt.NDArray[Any]) -> Landing:
    name = session.get_inputs()[0].name
    parts = (rows[at : at + _PART] for at in range(0, len(rows), _PART))
    vectors: Vectors = np.concatenate([session.run(None, {name: part})[0] for part in parts])
    return lambda: vectors


def _digest() -> str:
    """Returns 16 hex digits over all files that decide what the towers give."""
    state = hashlib.blake2b(digest_size=8)
    for name in _FILES:
        data = (FOLDER / name).read_bytes()
        state.update(f"{name} {len(data)}\n".encode())
        state.update(data)
    return state.hexdigest()


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # threads that wait for work take no CPU time from decoding, nor from other workers
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


_START: Final = "<start_of_text>"
_END: Final = "<end_of_text>"
_WORD_END: Final = "</w>"

_WORD: Final = regex.compile(
    rf"{_START}|{_END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE
)


class BytePairs:
    """A tokenizer of `context` tokens with the merges of a gzipped file."""

    def __init__(self, merges: Path, context: int) -> None:
        lines = gzip.decompress(merges.read_bytes()).decode().split("\n")[1:]
        pairs = [(first, second) for first, second in (line.split() for line in lines)]
        letters = sorted(ByteLevel.alphabet())
        vocabulary = [*letters, *(letter + _WORD_END for letter in letters)]
        vocabulary += ["".join(pair) for pair in pairs] + [_START, _END]
        numbers = {token: number for number, token in enumerate(vocabulary)}
        self._context = context
        self._tokenizer = Tokenizer(BPE(numbers, pairs, end_of_word_suffix=_WORD_END))
        self._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        special = [AddedToken(token, normalized=False, special=True) for token in (_START, _END)]
        self._tokenizer.add_special_tokens(special)
        self._tokenizer.post_processor = TemplateProcessing(
            single=f"{_START} $A {_END}", special_tokens=[(token, numbers[token]) for token in (_START, _END)]
        )
        self._tokenizer.enable_truncation(context)

    def __call__(self, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
        """Returns ((N, context) int64 tokens, 0 after the end, (N,) whether a caption was cut)."""
        tokens = np.zeros((len(captions), self._context), np.int64)
        cut = np.zeros(len(captions), np.bool_)
        for row, caption in enumerate(captions):
            encoding = self._tokenizer.encode(_words(caption), is_pretokenized=True)
            tokens[row, : len(encoding.ids)] = encoding.ids
            cut[row] = bool(encoding.overflowing)
        return tokens, cut


def _words(text: str) -> list[str]:
    """Returns the words and signs of a text, cleaned as CLIP was taught: mended, unescaped, in lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return list(_WORD.findall(" ".join(text.split()).lower()))
