"""A model on disk: config.json, model.safetensors, and its tokenizer; nothing that could run code."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import tokenizer as tokenizers
from model.config import ModelConfig, read_config
from model.qwen_vl import QwenVL, build
from model.tokenizer import TagTokenizer
from schemas.errors import InputError, RecipeError

WEIGHTS = "model.safetensors"
PICTURES = "pictures.json"


def save(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: TagTokenizer,
    side: int | None = None,
) -> None:
    """Writes a model into `folder`, which then appears as a whole; `side` is that of the pictures it learned from."""
    scratch = folder.with_name(f".{folder.name}.tmp")
    scratch.mkdir(parents=True, exist_ok=True)
    save_file({name: one.detach().cpu().contiguous() for name, one in weights.items()}, scratch / WEIGHTS)
    (scratch / "config.json").write_text(config.to_json(), "utf-8")
    (scratch / PICTURES).write_text(json.dumps({"side": side or config.sides[0]}) + "\n", "utf-8")
    tokenizer.save(scratch)
    replace_folder(scratch, folder)


def replace_folder(scratch: Path, folder: Path) -> None:
    """Puts `scratch` in the place of `folder`; at no moment is there half a folder of that name."""
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(scratch, folder)
    if old.exists():
        for file in old.iterdir():
            file.unlink()
        old.rmdir()


def from_pretrained(folder: Path) -> tuple[QwenVL, TagTokenizer]:
    """The model and tokenizer that `save` wrote; a sentence where something is missing or of another size."""
    config = read_config(folder)
    model = build(config)
    load_weights(model, read_weights(folder / WEIGHTS), str(folder))
    return model.eval(), tokenizers.load(folder)


def side_of(folder: Path, config: ModelConfig) -> int:
    """The side in pixels of the pictures that a saved model learned from last."""
    path = folder / PICTURES
    if not path.is_file():
        return config.sides[0]
    try:
        document = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    side = document.get("side") if isinstance(document, dict) else None
    return side if side in config.sides else config.sides[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    if not path.is_file():
        raise InputError(f"{path} is missing: the folder holds no whole model")
    try:
        return load_file(path)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def load_weights(model: QwenVL, weights: Mapping[str, Tensor], what: str) -> None:
    """Fills a model; RecipeError where the weights are those of a model of other sizes."""
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    shapes = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if missing or unknown or shapes:
        first = (shapes or missing or unknown)[0]
        told = f"{first} is {_shape(weights.get(first))}, here {_shape(own.get(first))}"
        raise RecipeError(
            f"{what} holds a model of another preset than {model.config.name}: {told} "
            f"({len(shapes)} sizes differ, {len(missing)} are missing, {len(unknown)} unknown)"
        )
    model.load_state_dict(dict(weights))


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else " x ".join(map(str, tensor.shape)) or "a scalar"
