"""The seam between a scorer and the library that computes: the two towers of a CLIP on one device."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from filters.clip.preprocess import Pixels, Preprocess

Tokens = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

Landing = Callable[[], Vectors]
"""Waits for a batch that a device has begun and returns its vectors."""


class NoMemory(Exception):
    """The device has no room for a batch; a smaller one may fit."""


class Towers(Protocol):
    """A CLIP as one library runs it.

    `id` names model and weights. A batch goes through a tower whole; NoMemory is raised where it does not fit.
    """

    id: str
    preprocess: Preprocess

    @property
    def build(self) -> dict[str, str]:
        """What vectors depend on beside `id`: device, precision and the library's version."""

    def tokenize(self, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
        """Returns ((N, context) tokens, (N,) whether a caption was too long and cut)."""

    def encode_images(self, pixels: Pixels) -> Landing:
        """Begins (N, height, width, 3) uint8; they land as (N, D) float32 unit vectors."""

    def encode_texts(self, tokens: Tokens) -> Landing:
        """Begins (N, context) tokens; they land as (N, D) float32 unit vectors."""
