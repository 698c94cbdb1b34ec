"""Digests as pairs of 64-bit numbers (`hi`, `lo`), so that they are compared and sorted by numpy."""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Texts: TypeAlias = "pa.Array[Any]"

HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
NIBBLE: Final = np.full(256, 255, np.uint8)
NIBBLE[HEX] = np.arange(16)

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_SHIFT, _PRIME = np.uint64(32), np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Values:
    """One value of 128 bits a row; only where `known`."""

    hi: U64
    lo: U64
    known: npt.NDArray[np.bool_]


def mix(numbers: U64) -> U64:
    """A permutation of the 64-bit numbers that spreads every bit over all."""
    for _ in range(2):
        numbers = (numbers ^ (numbers >> _SHIFT)) * _PRIME
    mixed: U64 = numbers ^ (numbers >> _SHIFT)
    return mixed


def key_words(keys: Texts) -> tuple[U64, U64]:
    """The two halves of each key of 32 lower-case hex digits; they sort as the keys do.

    Raises ValueError where a key is none.
    """
    lengths, texts = _bytes(keys)
    if keys.null_count or (lengths != 32).any():
        raise ValueError("a key is not 32 hex digits")
    nibbles = NIBBLE[texts.reshape(-1, 32)]
    if (nibbles > 15).any():
        raise ValueError("a key is not 32 hex digits")
    words = np.ascontiguousarray(nibbles[:, ::2] << 4 | nibbles[:, 1::2]).view(">u8").astype(np.uint64)
    return words[:, 0].copy(), words[:, 1].copy()


def keys_of(hi: U64, lo: U64) -> Texts:
    """The keys, as strings, of which `key_words` gave the halves."""
    data = np.ascontiguousarray(np.stack([hi, lo], axis=1).astype(">u8")).view(np.uint8)
    texts = np.empty((len(hi), 32), np.uint8)
    texts[:, ::2], texts[:, 1::2] = HEX[data >> 4], HEX[data & 15]
    offsets = np.arange(0, 32 * len(hi) + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(hi), pa.py_buffer(offsets.tobytes()), pa.py_buffer(texts.tobytes())
    )


def fingerprints(texts: Texts) -> Values:
    """128 bits for each text that is neither null nor empty, equal for equal texts.

    The texts are digests themselves, so the mixing need not withstand an adversary; all their bytes
    go into it, since nothing says where a digest keeps its entropy.
    """
    lengths, data = _bytes(texts.fill_null(""))
    offsets = np.cumsum(lengths) - lengths
    hi, lo = np.zeros(len(texts), np.uint64), np.zeros(len(texts), np.uint64)
    for length in np.unique(lengths[lengths > 0]).tolist():
        rows = np.flatnonzero(lengths == length)
        padded = np.zeros((len(rows), -(-length // 8) * 8), np.uint8)
        padded[:, :length] = data[offsets[rows][:, None] + np.arange(length)]
        first = np.full(len(rows), length, np.uint64) * _FIRST
        second = np.full(len(rows), length, np.uint64) * _SECOND
        for word in padded.view("<u8").astype(np.uint64).T:
            first, second = mix(first ^ word) + _FIRST, mix(second + word) ^ _SECOND
        hi[rows], lo[rows] = mix(first), mix(second)
    return Values(hi, lo, lengths > 0)


def _bytes(texts: Texts) -> tuple[npt.NDArray[np.int64], U8]:
    """Each text's length in bytes, and all bytes end to end; `texts` is pa.string() without nulls."""
    if not len(texts) or texts.null_count:
        return np.zeros(len(texts), np.int64), np.empty(0, np.uint8)
    _, offset_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(memoryview(offset_buffer or b""), np.int32)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(memoryview(data_buffer or b""), np.uint8)[offsets[0] : offsets[-1]]
    return np.diff(offsets).astype(np.int64), data
