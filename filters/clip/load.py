"""Models by name: open_clip's architectures, tags and checkpoints, with one sentence for what is wrong."""

import json
import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filters.clip.preprocess import Preprocess, resampled
from filters.clip.source import CONFIG, DRAFTED, LOCAL, MERGES, Source, open_clip_module, source_of
from filters.weights import HOST, LOADING, is_out_of_reach, line, weights_digest
from schemas.clip import ScorerSettings
from schemas.errors import ModelError

if TYPE_CHECKING:
    import torch

_ABSENT: Final = ("HF Hub", "Hugging Face Hub", "huggingface.co", "Failed to download", "offline mode")
"""Words of open_clip, transformers and the hub's client for what could not be fetched."""

_LOADING: Final = (*LOADING, AssertionError)
_PROBES: Final = ("a photo of two cats", "一张猫的照片")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in fp32 on the CPU with what goes before it; `id` names model and weights."""

    model: "torch.nn.Module"
    tokenizer: Any
    preprocess: Preprocess
    id: str


def load(settings: ScorerSettings) -> Loaded:
    """The model that the settings name, in evaluation mode.

    Raises ModelError: an unknown architecture or tag (with near ones), weights that are missing,
    truncated or of another architecture, a hub that does not answer.
    """
    open_clip = open_clip_module()
    source = source_of(settings)
    with _quiet(), _offline_unless_reachable(source.host):
        model = _model(open_clip, source)
        tokenizer = _tokenizer(open_clip, source)
    model.eval()
    visual: Any = model.visual
    config: dict[str, Any] = dict(visual.preprocess_cfg)
    tokens = json.dumps(tokenizer(list(_PROBES)).tolist())
    digest = weights_digest(model, json.dumps(config, sort_keys=True).encode(), tokens.encode())
    drafted = DRAFTED if settings.draft else ""
    preprocess = Preprocess.of(config, settings.draft, resampled)
    return Loaded(model, tokenizer, preprocess, f"{source.name}@{digest}{drafted}")


def _model(open_clip: Any, source: Source) -> "torch.nn.Module":
    import torch
    from safetensors import SafetensorError

    try:
        model = open_clip.create_model(
            source.model,
            pretrained=source.pretrained,
            # OpenAI's tags were trained with another activation than their architecture's file names
            force_quick_gelu=source.quick_gelu,
            require_pretrained=True,
            weights_only=True,
        )
    except ImportError as error:
        raise ModelError(f"{source.name} needs another library: {line(error)}") from error
    except (SafetensorError, pickle.UnpicklingError, EOFError, StopIteration) as error:
        raise ModelError(_unreadable(source, error)) from error
    except _LOADING as error:
        raise ModelError(_sentence(open_clip, source, error)) from error
    assert isinstance(model, torch.nn.Module)
    return model


def _unreadable(source: Source, error: Exception) -> str:
    where = source.pretrained or source.model.removeprefix(LOCAL)
    return (
        f"the weights at {where} cannot be read (truncated, or no plain tensors; "
        f"pickled code is never run): {line(error)}"
    )


def _sentence(open_clip: Any, source: Source, error: Exception) -> str:
    """What went wrong while open_clip made a model, told from the words that it used."""
    text = str(error)
    if "loading state_dict" in text:
        return f"the weights for {source.name} are of another architecture: {line(error, skip=1)}"
    if any(word in text for word in _ABSENT):
        return (
            f"{source.name} cannot be fetched ({source.host or HOST} does not answer, or has no such "
            f"model) and is not in the local cache: {line(error)}"
        )
    if "Required pretrained weights" in text:
        return f"{source.model.removeprefix(LOCAL)} holds no weights"
    if source.pretrained is not None and _is_checkpoint(open_clip, source.pretrained):
        return f"the weights for {source.name} are of another architecture: {line(error)}"
    return _unreadable(source, error)


def _is_checkpoint(open_clip: Any, path: str) -> bool:
    """Whether the file holds named tensors, of whatever model."""
    import torch

    try:
        state = open_clip.factory.load_state_dict(path, weights_only=True)
    except (*_LOADING, pickle.UnpicklingError, EOFError, StopIteration):
        return False
    return all(isinstance(value, torch.Tensor) for value in state.values())


def _tokenizer(open_clip: Any, source: Source) -> Any:
    merges = Path(source.model.removeprefix(LOCAL)) / MERGES
    try:
        if source.model.startswith(LOCAL) and merges.is_file():
            config = json.loads((merges.parent / CONFIG).read_text(encoding="utf-8"))
            length = config["model_cfg"]["text_cfg"]["context_length"]
            return open_clip.tokenizer.SimpleTokenizer(bpe_path=str(merges), context_length=length)
        return open_clip.get_tokenizer(source.model)
    except (OSError, ValueError, ImportError, LookupError, RuntimeError) as error:
        raise ModelError(f"the tokenizer of {source.name} cannot be loaded: {line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences warnings; errors still raise.

    open_clip logs through the root logger, whose first message would install a handler for good.
    """
    handler = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)


@contextmanager
def _offline_unless_reachable(host: str | None) -> Iterator[None]:
    """Where a hub does not answer within seconds, only its local cache is asked: no retries, no hang."""
    if host is None or not is_out_of_reach(host):
        yield
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
