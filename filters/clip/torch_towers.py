"""Every CLIP that open_clip reads, run by torch on a CPU or a GPU."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from filters.clip.load import Loaded, load
from filters.clip.preprocess import Pixels
from filters.clip.scorer import Landing, NoMemory, Tokens, Vectors
from schemas.clip import ScorerSettings
from schemas.errors import ModelError

if TYPE_CHECKING:
    import torch

Forward = Callable[["torch.Tensor"], "torch.Tensor"]

_SLACK: Final = 8


class TorchTowers:
    """The towers that the settings name, or those `loaded` elsewhere.

    Making them sets torch's number of threads for the whole process. Raises ModelError where the model
    cannot be loaded or the device is not there.
    """

    def __init__(self, settings: ScorerSettings, device: str, loaded: Loaded | None = None) -> None:
        loaded = load(settings) if loaded is None else loaded
        import torch

        self.id = loaded.id
        self.preprocess = loaded.preprocess
        self.device = _device(device)
        self.precision = _precision(settings.precision, self.device)
        torch.set_num_threads(settings.threads)
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
        """See Towers."""
        import torch

        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {"device": name, "precision": self.precision, "torch": torch.__version__}

    def tokenize(self, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
        """See Towers."""
        return _tokens(self._tokenizer, captions)

    def encode_images(self, pixels: Pixels) -> Landing:
        """See Towers."""
        return self._launch(self._image, pixels)

    def encode_texts(self, tokens: Tokens) -> Landing:
        """See Towers."""
        return self._launch(self._text, tokens)

    def _image_forward(self, pixels: "torch.Tensor") -> "torch.Tensor":
        # (N, H, W, 3) as bytes to (N, 3, H, W) in channels-last order, normalised as open_clip does
        scaled = pixels.flatten(2).float().mul_(self._scale).add_(self._shift)
        scaled = scaled.view(pixels.shape).permute(0, 3, 1, 2)
        features: torch.Tensor = self._model.encode_image(scaled, normalize=False)
        return _unit(features)

    def _text_forward(self, tokens: "torch.Tensor") -> "torch.Tensor":
        features: torch.Tensor = self._model.encode_text(tokens, normalize=False)
        return _unit(features)

    def _launch(self, forward: Forward, rows: npt.NDArray[Any]) -> Landing:
        """Begins a batch; its vectors stay on the device until they are asked for."""
        import torch

        try:
            vectors = self._begun(forward, torch.from_numpy(np.ascontiguousarray(rows)))
        except torch.OutOfMemoryError as error:
            failed = str(error)
        else:
            return lambda: _fetched(vectors)
        # outside of the handler, whose frames hold tensors of the device
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise NoMemory(failed)

    def _begun(self, forward: Forward, batch: "torch.Tensor") -> "torch.Tensor":
        import torch

        if self.device.type == "cuda":
            batch = batch.pin_memory()
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        # not around a generator: the mode is the thread's, and would stay on for whoever asks for the next
        with torch.inference_mode(), torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            return forward(batch.to(self.device, non_blocking=True))


def _fetched(vectors: "torch.Tensor") -> Vectors:
    found: Vectors = vectors.float().cpu().numpy()
    return found


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


def _tokens(tokenizer: Any, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
    """((N, context) tokens, (N,) whether the tokenizer cut the caption), by the tokenizer's own rule.

    open_clip's tokenizers cut without a word. A caption was cut where a little more room gives it
    more tokens; only captions that fill their room are asked again.
    """
    if not captions:
        return np.zeros((0, int(tokenizer.context_length)), np.int64), np.zeros(0, np.bool_)
    tokens: Tokens = tokenizer(list(captions)).numpy().astype(np.int64)
    pad = _padding(tokenizer)
    full = np.flatnonzero((tokens[:, -2:] != pad).any(1))
    cut = np.zeros(len(captions), np.bool_)
    if len(full):
        room = int(tokenizer.context_length) + _SLACK
        longer: Tokens = tokenizer([captions[row] for row in full.tolist()], context_length=room).numpy()
        cut[full] = (longer != pad).sum(1) > (tokens[full] != pad).sum(1)
    return tokens, cut


def _padding(tokenizer: Any) -> int:
    """The token that fills the rest of a row: 0 in open_clip's own tokenizer, any in a Hugging Face one."""
    inner = getattr(tokenizer, "tokenizer", None)
    pad = getattr(inner, "pad_token_id", None)
    return 0 if pad is None else int(pad)
