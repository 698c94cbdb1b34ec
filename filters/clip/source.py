"""What a scorer's settings name: an architecture with its weights, and where they would come from."""

import difflib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filters.weights import HOST, line
from schemas.clip import EMBEDDED, ScorerSettings
from schemas.errors import ModelError

FOLDER: Final = Path(__file__).parent.parent / "embedded"
"""The scorer that comes with the package."""

MERGES: Final = "merges.txt.gz"
"""A folder's own byte-pair merges, where its text tower was not trained with OpenAI's."""

CONFIG: Final = "open_clip_config.json"
WEIGHTS: Final = "open_clip_model.safetensors"
IMAGE: Final = "image.onnx"
TEXT: Final = "text.onnx"
"""The towers of the embedded scorer as graphs over its checkpoint, written by tools/clip_onnx.py."""

HUB: Final = "hf-hub:"
LOCAL: Final = "local-dir:"
_WEIGHTS: Final = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz")
_READ: Final = (*_WEIGHTS, ".json", ".onnx", ".txt", ".gz", ".model")
"""Files of a folder that decide what its model gives."""

DRAFTED: Final = "+draft"
"""Drafted JPEGs give other scores: ids of their scorers end so."""


@dataclass(frozen=True, slots=True)
class Source:
    """What open_clip is asked for, and the name under which scores are published (never a path)."""

    model: str
    pretrained: str | None
    name: str
    host: str | None = None
    quick_gelu: bool = False


def is_embedded(settings: ScorerSettings) -> bool:
    """Returns whether the settings name the scorer of this package."""
    return EMBEDDED in (settings.model, settings.pretrained)


def libraries_of(settings: ScorerSettings) -> tuple[str, ...]:
    """Returns the distributions whose version can move the scores."""
    if is_embedded(settings):
        return ("ftfy", "numpy", "onnxruntime", "pillow", "regex", "tokenizers")
    return ("numpy", "open_clip_torch", "pillow", "torch")


def open_clip_module() -> Any:
    """Returns the module open_clip; ModelError says what to install where it does not import."""
    try:
        import open_clip
    except (ImportError, RuntimeError, OSError) as error:
        # a CPU torch beside a CUDA torchvision fails with a RuntimeError
        raise ModelError(
            "CLIP scores by other models than `embedded` need open_clip with matching torch and torchvision: "
            f"run `make install`, or pip install '.[clip]' in a checkout ({line(error)})"
        ) from error
    return open_clip


def files_of(settings: ScorerSettings) -> list[Path]:
    """The local files that decide what the scorer gives, sorted; none for names of open_clip or a hub."""
    if is_embedded(settings):
        folder = FOLDER
    elif settings.model.startswith(LOCAL):
        folder = Path(settings.model.removeprefix(LOCAL))
    else:
        file = Path(settings.pretrained or "")
        return [file] if file.is_file() else []
    return sorted(one for one in folder.iterdir() if one.suffix in _READ) if folder.is_dir() else []


def source_of(settings: ScorerSettings) -> Source:
    """What the settings name; nothing is fetched or loaded, so it may be asked long before scores are wanted.

    Raises ModelError: an unknown architecture or tag (with near ones), weights or a folder that are missing.
    """
    if is_embedded(settings):
        return Source(f"{LOCAL}{FOLDER}", None, EMBEDDED)
    if importlib.util.find_spec("open_clip") is None:
        open_clip_module()
    if settings.model.startswith(HUB):
        return Source(settings.model, None, settings.model, HOST)
    if settings.model.startswith(LOCAL):
        folder = Path(settings.model.removeprefix(LOCAL))
        if not (folder / CONFIG).is_file():
            raise ModelError(f"{folder} holds no {CONFIG}: it is no folder of an open_clip model")
        return Source(settings.model, None, "local")
    return _named(settings.model, settings.pretrained or "")


def _named(model: str, pretrained: str) -> Source:
    """An architecture of open_clip with a tag or a checkpoint."""
    open_clip = open_clip_module()
    known = open_clip.list_models()
    if model not in known:
        raise ModelError(f"open_clip knows no model {model!r}; {_near(model, known)}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    text = open_clip.get_model_config(model)["text_cfg"]
    # a text tower of transformers has its configuration and its tokenizer on the hub
    host = HOST if text.get("hf_model_name") or text.get("hf_tokenizer_name") else None
    if pretrained in tags:
        config = open_clip.get_pretrained_cfg(model, pretrained)
        url = str(config.get("url") or "")
        host = url.split("/")[2] if "://" in url and not config.get("hf_hub") else HOST
        return Source(model, pretrained, f"{model}/{pretrained}", host, bool(config.get("quick_gelu")))
    if Path(pretrained).is_file():
        return Source(model, pretrained, model, host)
    if pretrained.endswith(_WEIGHTS) or "/" in pretrained:
        raise ModelError(f"no weights at {pretrained}: give the path of a checkpoint, or a tag of {model}")
    raise ModelError(f"open_clip has no weights {pretrained!r} for {model}; {_near(pretrained, tags)}")


def _near(name: str, known: list[str]) -> str:
    lower = {one.lower(): one for one in known}
    near = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, 5, 0.5)]
    return f"near ones are {', '.join(near)}" if near else f"it has {', '.join(known[:12]) or 'none'}"
