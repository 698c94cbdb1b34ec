"""A CLIP that scores pictures against captions, in batches of one size."""

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from filters.clip import tokens as clip_tokens
from filters.clip.flight import Runway, Vectors
from filters.clip.load import Loaded, load
from filters.clip.resample import Pixels
from schemas.clip import ScorerSettings
from schemas.errors import ModelError

if TYPE_CHECKING:
    import torch

Scores = npt.NDArray[np.float32]

DECIMALS: Final = 5
"""Scores are rounded so: beyond it two machines of one kind may differ."""

Forward = Callable[["torch.Tensor"], "torch.Tensor"]

_log = logging.getLogger("vlcorpus.clip")


class Scorer:
    """One CLIP on one device.

    `preprocess` and `tokenize` are cheap and may be called from many threads; the rest belongs to
    one thread. Every batch has the same number of rows whatever is asked for, so that a row's numbers do
    not depend on its neighbours, nor on how rows were dealt out to workers. Making one sets torch's
    number of threads for the whole process. `loaded` stands for what the settings name, where it was
    made elsewhere. Raises ModelError where the model cannot be loaded.
    """

    VERSION: Final = 1
    LIBRARIES: Final = ("torch", "torchvision", "open_clip_torch", "pillow")

    def __init__(self, settings: ScorerSettings, device: str = "auto", loaded: Loaded | None = None) -> None:
        loaded = load(settings) if loaded is None else loaded
        import torch

        self.settings = settings
        self.id = loaded.id
        self.batch_size = settings.batch_size
        self.device = _device(device)
        self.precision = _precision(settings.precision, self.device)
        torch.set_num_threads(settings.threads)
        self._transform = loaded.preprocess
        self._tokenizer = loaded.tokenizer
        self._model: Any = _placed(loaded, self.device)
        mean, std = (torch.tensor(one) for one in (loaded.preprocess.mean, loaded.preprocess.std))
        # for a whole line of pixels: twice as fast on a CPU as by channel
        self._scale = (1 / (255 * std)).repeat(loaded.preprocess.width).to(self.device)
        self._shift = (-mean / std).repeat(loaded.preprocess.width).to(self.device)
        self._image: Forward = self._image_forward
        self._text: Forward = self._text_forward
        if settings.compile:
            self._image = torch.compile(self._image_forward, dynamic=False)
            self._text = torch.compile(self._text_forward, dynamic=False)

    @property
    def build(self) -> dict[str, str]:
        """What scores depend on beside `id`: equal builds on equal devices give equal scores."""
        import torch

        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {
            "device": name,
            "precision": self.precision,
            "batch_size": str(self.batch_size),
            "torch": torch.__version__,
        }

    def preprocess(self, image: Image.Image | bytes) -> Pixels:
        """(height, width, 3) uint8 of a picture as stored; RowError where bytes cannot be decoded."""
        return self._transform(image, self.settings.max_pixels)

    def tokenize(self, captions: Sequence[str]) -> tuple[clip_tokens.Tokens, npt.NDArray[np.bool_]]:
        """((N, context) int64 tokens, (N,) whether a caption was too long and cut)."""
        return clip_tokens.tokenize(self._tokenizer, captions)

    def encode_images(
        self, images: Sequence[Pixels] | Pixels, digests: Sequence[Hashable] | None = None
    ) -> Vectors:
        """(N, D) float32 unit vectors of what `preprocess` gave; equal digests are encoded once."""
        if len(images) == 0:
            return np.zeros((0, self._dimension()), np.float32)
        first, inverse = _once(digests if digests is not None else range(len(images)))
        rows = images[first] if isinstance(images, np.ndarray) else np.stack([images[row] for row in first])
        return self._encode(self._image, rows)[inverse]

    def encode_batches(self, batches: Iterable[Pixels]) -> Iterator[Vectors]:
        """`encode_images` of each batch that comes, in order, but for digests; batches hold a row at least.

        What comes next is begun before the last is waited for, so that a GPU never stands still while pixels
        are gathered. Batches of `batch_size` rows, the last one smaller, waste nothing.
        """
        return self._runway(self._image).vectors(batches)

    def encode_texts(self, tokens: clip_tokens.Tokens) -> Vectors:
        """(N, D) float32 unit vectors of what `tokenize` gave; equal captions are encoded once."""
        if len(tokens) == 0:
            return np.zeros((0, self._dimension()), np.float32)
        first, inverse = _once([row.tobytes() for row in tokens])
        return self._encode(self._text, tokens[first])[inverse]

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
                if self.precision == "fp16"
                else ""
            )
            raise ModelError(f"{self.id} gives scores that are not numbers for {named}{more}{hint}")
        scores: Scores = np.round(cosines, DECIMALS).astype(np.float32)
        return scores

    def _dimension(self) -> int:
        return int(self._encode(self._text, self.tokenize([""])[0]).shape[1])

    def _image_forward(self, pixels: "torch.Tensor") -> "torch.Tensor":
        # (N, H, W, 3) as bytes to (N, 3, H, W) in channels-last order, normalised as open_clip does
        scaled = pixels.flatten(2).float().mul_(self._scale).add_(self._shift)
        scaled = scaled.view(pixels.shape).permute(0, 3, 1, 2)
        features: torch.Tensor = self._model.encode_image(scaled, normalize=False)
        return _unit(features)

    def _text_forward(self, tokens: "torch.Tensor") -> "torch.Tensor":
        features: torch.Tensor = self._model.encode_text(tokens, normalize=False)
        return _unit(features)

    def _encode(self, forward: Forward, rows: npt.NDArray[Any]) -> Vectors:
        """(N, D) for N rows of input, N above 0."""
        size = self.batch_size
        parts = (rows[at : at + size] for at in range(0, len(rows), size))
        return np.concatenate(list(self._runway(forward).vectors(parts)))

    def _runway(self, forward: Forward) -> Runway:
        return Runway(lambda: self.batch_size, lambda part: self._launch(forward, part), self._halve)

    def _launch(self, forward: Forward, part: npt.NDArray[Any]) -> "torch.Tensor":
        """The vectors of one padded batch, still on the device."""
        import torch

        missing = self.batch_size - len(part)
        if missing:
            part = np.concatenate([part, np.repeat(part[:1], missing, 0)])
        batch = torch.from_numpy(np.ascontiguousarray(part))
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        # not around a generator: the mode is the thread's, and would stay on for whoever asks for the next
        with torch.inference_mode(), torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            return forward(batch.to(self.device, non_blocking=True))

    def _halve(self, error: Exception) -> None:
        """Goes on with half the batch after the device ran out of memory, and says so."""
        import torch

        if self.batch_size == 1:
            raise ModelError(f"{self.id} does not fit into the memory of {self.device}") from error
        self.batch_size //= 2
        _log.warning(
            "%s: out of memory on %s with %d rows a batch; going on with %d "
            "(scores may differ in their last digits: set batch_size)",
            self.id, self.device, self.batch_size * 2, self.batch_size,
        )  # fmt: skip
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _unit(features: "torch.Tensor") -> "torch.Tensor":
    from torch.nn import functional

    return functional.normalize(features.float(), dim=-1)


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"no GPU that torch can use for device {name!r}: ask for cpu or auto")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"torch knows no device {name!r}: use auto, cpu, cuda or cuda:N") from error


def _precision(asked: str, device: "torch.device") -> str:
    import torch

    if asked != "auto":
        return asked
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _placed(loaded: Loaded, device: "torch.device") -> "torch.nn.Module":
    """The model on its device; convolutions over pictures read them in the order in which they come."""
    import torch

    model = loaded.model.requires_grad_(False).to(device)
    return model.to(memory_format=torch.channels_last)


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
