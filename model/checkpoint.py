"""Models on disk, and the checkpoints from which a killed run goes on with the same losses.

A model     config.json  model.safetensors  tokenizer.json  pictures.json; nothing that could run code
Checkpoint  STAGE/checkpoints/00000200/   model.safetensors  optimizer.pt  state.json (step, loaders, digests)
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from model import tokenizer as tokenizers
from model.config import ModelConfig, read_config, read_json
from model.optim import Optimisers
from model.qwen_vl import QwenVL, build
from model.tokenizer import TagTokenizer
from schemas.errors import InputError, RecipeError

WEIGHTS = "model.safetensors"
IMAGES = "pictures.json"
OPTIMIZER: Final = "optimizer.pt"
STATE: Final = "state.json"
_KEPT: Final = 2


def save(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: TagTokenizer,
    side: int | None = None,
) -> None:
    """Writes a model into `folder`, config.json last: where that lies, the model is whole.

    `side` is that of the images it learned from.
    """
    scratch = folder / ".model.tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    _write_weights(weights, scratch)
    (scratch / "config.json").write_text(config.to_json(), "utf-8")
    (scratch / IMAGES).write_text(json.dumps({"side": side or config.sides[0]}) + "\n", "utf-8")
    tokenizer.save(scratch)
    for file in sorted(scratch.iterdir(), key=lambda one: one.name == "config.json"):
        file.replace(folder / file.name)
    scratch.rmdir()


def _write_weights(weights: Mapping[str, Tensor], folder: Path) -> None:
    save_file({name: one.detach().cpu().contiguous() for name, one in weights.items()}, folder / WEIGHTS)


def replace_folder(scratch: Path, folder: Path) -> None:
    """Puts `scratch` in the place of `folder`; at no moment is there half a folder of that name."""
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(scratch, folder)
    if old.exists():
        shutil.rmtree(old)


def from_pretrained(folder: Path) -> tuple[QwenVL, TagTokenizer]:
    """Returns the model and tokenizer that `save` wrote; raises InputError or RecipeError where they are not whole."""
    config = read_config(folder)
    _check_header(config, folder)
    model = build(config)
    load_weights(model, read_weights(folder / WEIGHTS), str(folder))
    return model.eval(), tokenizers.load(folder)


def _check_header(config: ModelConfig, folder: Path) -> None:
    """Raises RecipeError where the weights are of other sizes than the config says: before a tensor is made."""
    path = folder / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        what = "damaged" if path.is_file() else "missing: the folder holds no whole model"
        raise InputError(f"{path} is {what}") from error
    with torch.device("meta"):
        own = QwenVL(config).state_dict()
    _compare({name: tuple(one.shape) for name, one in own.items()}, shapes, str(folder), config.name)


def side_of(folder: Path, config: ModelConfig) -> int:
    """Returns the side in pixels of the images that a saved model learned from last."""
    side = read_json(folder / IMAGES).get("side")
    return side if side in config.sides else config.sides[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path} is missing: the folder holds no whole model")
    try:
        return load_file(path)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def load_weights(model: QwenVL, weights: Mapping[str, Tensor], what: str) -> None:
    """Fills a model; raises RecipeError where the weights are of a model of other sizes."""
    own, given = (
        {name: tuple(one.shape) for name, one in of.items()} for of in (model.state_dict(), weights)
    )
    _compare(own, given, what, model.config.name)
    model.load_state_dict(dict(weights))


Shapes = Mapping[str, tuple[int, ...]]


def _compare(own: Shapes, given: Shapes, what: str, preset: str) -> None:
    """Raises RecipeError where the sizes of weights are not those of a model."""
    missing = sorted(own.keys() - given.keys())
    unknown = sorted(given.keys() - own.keys())
    shapes = [name for name in own if name in given and own[name] != given[name]]
    if missing or unknown or shapes:
        first = (shapes or missing or unknown)[0]
        sizes = f"{first} is {_shape(given.get(first))}, here {_shape(own.get(first))}"
        raise RecipeError(
            f"{what} holds a model of another preset than {preset}: {sizes} "
            f"({len(shapes)} sizes differ, {len(missing)} are missing, {len(unknown)} unknown)"
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a scalar"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files are whole: where it lies, and its state."""

    folder: Path
    state: dict[str, Any]


def model_state(model: QwenVL, world: int) -> dict[str, Any]:
    """Returns the whole weights, on the CPU of rank 0 (elsewhere nothing); every rank must call it."""
    options = StateDictOptions(full_state_dict=world > 1, cpu_offload=world > 1)
    return get_model_state_dict(model, options=options)


def write(
    folder: Path, model: QwenVL, optimisers: Optimisers, state: dict[str, Any], *, rank: int, world: int
) -> None:
    """Writes checkpoint `state["step"]` below `folder` and drops the oldest; every rank must call it."""
    options = StateDictOptions(full_state_dict=world > 1, cpu_offload=world > 1)
    weights = model_state(model, world)
    moments = get_optimizer_state_dict(model, optimisers.members, options=options)
    if rank != 0:
        return
    final = folder / f"{state['step']:08d}"
    scratch = folder / f".{final.name}.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    _write_weights(weights, scratch)
    torch.save(moments, scratch / OPTIMIZER)
    digests = {name: _digest(scratch / name) for name in (WEIGHTS, OPTIMIZER)}
    text = json.dumps({**state, "digests": digests}, sort_keys=True)
    (scratch / STATE).write_text(text + "\n", "utf-8")
    replace_folder(scratch, final)
    for old in _folders(folder)[:-_KEPT]:
        shutil.rmtree(old)


def latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """Returns the newest whole checkpoint; `say` is given a sentence on each newer one that is damaged."""
    for found in reversed(_folders(folder)):
        damage = None
        try:
            state = json.loads((found / STATE).read_text("utf-8"))
            for name, digest in state["digests"].items():
                if Path(name).name != name or _digest(found / name) != digest:
                    damage = f"{name} is not as it was written"
        except (OSError, ValueError, KeyError, AttributeError) as error:
            damage = f"{type(error).__name__}: {error}"
        if damage is None:
            return Checkpoint(found, state)
        say(f"checkpoint {found} is damaged ({damage}); the one before it is used")
    return None


def restore(checkpoint: Checkpoint, model: QwenVL, optimisers: Optimisers, world: int) -> None:
    """Gives model and optimisers what the checkpoint holds; every rank must call it."""
    weights: dict[str, Any] = dict(read_weights(checkpoint.folder / WEIGHTS))
    moments = torch.load(checkpoint.folder / OPTIMIZER, map_location="cpu", weights_only=True)
    options = StateDictOptions(full_state_dict=world > 1)
    set_model_state_dict(model, weights, options=options)
    set_optimizer_state_dict(model, optimisers.members, moments, options=options)


def require_same(checkpoint: Checkpoint, identity: dict[str, Any]) -> None:
    """Raises RecipeError where a checkpoint is of another model or another stage's settings."""
    before = checkpoint.state.get("identity") or {}
    # through JSON, as the other was: tuples are lists there
    now = json.loads(json.dumps(identity))
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if changed:
        raise RecipeError(
            f"{checkpoint.folder} is a checkpoint of other settings ({', '.join(changed)} differ): "
            "train with those, or into another folder"
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob("[0-9]*") if one.is_dir()) if folder.is_dir() else []


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
