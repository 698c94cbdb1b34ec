"""A CLIP that scores images against captions, in batches of one size.

A batch is begun before the one ahead of it is fetched from the device.
"""

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from filters.clip.preprocess import Pixels, Preprocess
from filters.clip.source import is_embedded
from schemas.clip import ScorerSettings
from schemas.errors import ModelError

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


@dataclass
class Flight:
    """What became of one batch so far: parts that still are on the device, in order, after those fetched."""

    done: list[Vectors] = field(default_factory=list)
    waiting: list[tuple[Landing, int]] = field(default_factory=list)

    def land(self) -> Vectors:
        """All vectors, in the memory of the process; waits for the device."""
        self.done += [landing()[:rows] for landing, rows in self.waiting]
        self.waiting.clear()
        return np.concatenate(self.done)


class Runway:
    """Encodes batches in parts of at most `size()` rows; `launch` begins one, `halve` makes them smaller."""

    def __init__(
        self,
        size: Callable[[], int],
        launch: Callable[[npt.NDArray[Any]], Landing],
        halve: Callable[[NoMemory], None],
    ) -> None:
        self._size = size
        self._launch = launch
        self._halve = halve
        self._flights: deque[Flight] = deque()

    def vectors(self, batches: Iterable[npt.NDArray[Any]]) -> Iterator[Vectors]:
        """The vectors of each batch, in order, one batch behind what was begun."""
        for batch in batches:
            self._begin(batch)
            if len(self._flights) > 1:
                yield self._flights.popleft().land()
        while self._flights:
            yield self._flights.popleft().land()

    def _begin(self, batch: npt.NDArray[Any]) -> None:
        flight = Flight()
        self._flights.append(flight)
        at = 0
        while at < len(batch):
            part = batch[at : at + self._size()]
            try:
                flight.waiting.append((self._launch(part), len(part)))
            except NoMemory as error:
                failed = error
            else:
                at += len(part)
                continue
            for other in self._flights:
                if other.waiting:
                    other.done = [other.land()]
            self._halve(failed)


Scores = npt.NDArray[np.float32]

DECIMALS: Final = 5
"""Scores are rounded so: beyond it two machines of one kind may differ."""

Encode = Callable[[npt.NDArray[Any]], Landing]

_log = logging.getLogger("vlcorpus.clip")


class Scorer:
    """One CLIP on one device.

    `preprocess` and `tokenize` are cheap and may be called from many threads; the rest belongs to
    one thread. Every batch has the same number of rows whatever is asked for, so that a row's numbers do
    not depend on its neighbours, nor on how rows were dealt out to workers. `towers` stand for what the
    settings name, where they were made elsewhere. Raises ModelError where the model cannot be loaded.
    """

    def __init__(self, settings: ScorerSettings, device: str = "auto", towers: Towers | None = None) -> None:
        self.settings = settings
        self.batch_size = settings.batch_size
        self._towers = towers_of(settings, device) if towers is None else towers
        self.id = self._towers.id

    @property
    def build(self) -> dict[str, str]:
        """What scores depend on beside `id`: equal builds on equal devices give equal scores."""
        return {**self._towers.build, "batch_size": str(self.batch_size)}

    def preprocess(self, image: Image.Image | bytes) -> Pixels:
        """(height, width, 3) uint8 of an image as stored; RowError where bytes cannot be decoded."""
        return self._towers.preprocess(image, self.settings.max_pixels)

    def tokenize(self, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
        """((N, context) int64 tokens, (N,) whether a caption was too long and cut)."""
        return self._towers.tokenize(captions)

    def encode_images(
        self, images: Sequence[Pixels] | Pixels, digests: Sequence[Hashable] | None = None
    ) -> Vectors:
        """(N, D) float32 unit vectors of what `preprocess` gave; equal digests are encoded once."""
        if len(images) == 0:
            return np.zeros((0, self._dimension()), np.float32)
        first, inverse = _once(digests if digests is not None else range(len(images)))
        rows = images[first] if isinstance(images, np.ndarray) else np.stack([images[row] for row in first])
        return self._encode(self._towers.encode_images, rows)[inverse]

    def encode_batches(self, batches: Iterable[Pixels]) -> Iterator[Vectors]:
        """`encode_images` of each batch that comes, in order, but for digests; batches hold a row at least.

        What comes next is begun before the last is waited for, so that a GPU never stands still while pixels
        are gathered. Batches of `batch_size` rows, the last one smaller, waste nothing.
        """
        return self._runway(self._towers.encode_images).vectors(batches)

    def encode_texts(self, tokens: Tokens) -> Vectors:
        """(N, D) float32 unit vectors of what `tokenize` gave; equal captions are encoded once."""
        if len(tokens) == 0:
            return np.zeros((0, self._dimension()), np.float32)
        first, inverse = _once([row.tobytes() for row in tokens])
        return self._encode(self._towers.encode_texts, tokens[first])[inverse]

    def score(self, images: Vectors, texts: Vectors, rows: Sequence[str] | None = None) -> Scores:
        """(N,) float32 cosines of the vectors row by row, rounded to 1e-5.

        `rows` names them for ModelError, which is raised where a score is not a number.
        """
        cosines = np.einsum("nd,nd->n", images.astype(np.float64), texts.astype(np.float64))
        bad = np.flatnonzero(~np.isfinite(cosines))
        if len(bad):
            named = ", ".join(rows[row] if rows else f"row {row}" for row in bad[:5])
            more = f" and {len(bad) - 5:,} more" if len(bad) > 5 else ""
            hint = (
                "; fp16 overflows in some models, precision: fp32 does not"
                if self._towers.build["precision"] == "fp16"
                else ""
            )
            raise ModelError(f"{self.id} gives scores that are not numbers for {named}{more}{hint}")
        scores: Scores = np.round(cosines, DECIMALS).astype(np.float32)
        return scores

    def _dimension(self) -> int:
        return int(self._encode(self._towers.encode_texts, self.tokenize([""])[0]).shape[1])

    def _encode(self, encode: Encode, rows: npt.NDArray[Any]) -> Vectors:
        """(N, D) for N rows of input, N above 0."""
        size = self.batch_size
        parts = (rows[at : at + size] for at in range(0, len(rows), size))
        return np.concatenate(list(self._runway(encode).vectors(parts)))

    def _runway(self, encode: Encode) -> Runway:
        return Runway(lambda: self.batch_size, lambda part: encode(self._padded(part)), self._halve)

    def _padded(self, part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The rows of a part, and as many of its first as a whole batch lacks."""
        missing = self.batch_size - len(part)
        return np.concatenate([part, np.repeat(part[:1], missing, 0)]) if missing else part

    def _halve(self, error: NoMemory) -> None:
        """Goes on with half the batch after the device ran out of memory, and says so."""
        device = self._towers.build["device"]
        if self.batch_size == 1:
            raise ModelError(f"{self.id} does not fit into the memory of {device}") from error
        self.batch_size //= 2
        _log.warning(
            "%s: out of memory on %s with %d rows a batch; going on with %d "
            "(scores may differ in their last digits: set batch_size)",
            self.id, device, self.batch_size * 2, self.batch_size,
        )  # fmt: skip


def towers_of(settings: ScorerSettings, device: str) -> Towers:
    """Returns the towers that the settings name, by the library that runs them."""
    if is_embedded(settings):
        from filters.clip.embedded import EmbeddedTowers

        return EmbeddedTowers(settings, device)
    from filters.clip.torch_towers import TorchTowers

    return TorchTowers(settings, device)


def _once(digests: Sequence[Hashable]) -> tuple[list[int], npt.NDArray[np.intp]]:
    """(where each different digest is first seen, for every row its place in that list)."""
    seen: dict[Hashable, int] = {}
    first: list[int] = []
    inverse = np.empty(len(digests), np.intp)
    for row, digest in enumerate(digests):
        if digest not in seen:
            seen[digest] = len(first)
            first.append(row)
        inverse[row] = seen[digest]
    return first, inverse
