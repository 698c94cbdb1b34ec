"""Checkpoints: all that a killed run needs to give the same losses, whole or not there at all.

STAGE/checkpoints/00000200/   model.safetensors  optimizer.pt  state.json (step, loaders, digests)
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from model.optim import Optimisers
from model.qwen_vl import QwenVL
from model.saved import WEIGHTS, read_weights, replace_folder
from schemas.errors import RecipeError

OPTIMIZER: Final = "optimizer.pt"
STATE: Final = "state.json"
_KEPT: Final = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files are whole: where it lies, and its state."""

    folder: Path
    state: dict[str, Any]


def model_state(model: QwenVL, world: int) -> dict[str, Any]:
    """The whole weights, on the CPU of rank 0 (elsewhere nothing); every rank must call it."""
    options = StateDictOptions(full_state_dict=world > 1, cpu_offload=world > 1)
    return get_model_state_dict(model, options=options)


def write(
    folder: Path,
    model: QwenVL,
    optimisers: Optimisers,
    state: dict[str, Any],
    *,
    rank: int,
    world: int,
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
    save_file({name: one.detach().cpu().contiguous() for name, one in weights.items()}, scratch / WEIGHTS)
    torch.save(moments, scratch / OPTIMIZER)
    digests = {name: _digest(scratch / name) for name in (WEIGHTS, OPTIMIZER)}
    text = json.dumps({**state, "digests": digests}, sort_keys=True)
    (scratch / STATE).write_text(text + "\n", "utf-8")
    replace_folder(scratch, final)
    for old in _folders(folder)[:-_KEPT]:
        shutil.rmtree(old)


def latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint; `say` is told of each newer one that is damaged."""
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
    """RecipeError where a checkpoint is of another model or another stage's settings."""
    before = checkpoint.state.get("identity")
    # through JSON, as the other was: tuples are lists there
    now = json.loads(json.dumps(identity, sort_keys=True))
    if before != now:
        names = before.keys() | now.keys() if isinstance(before, dict) else now.keys()
        changed = [
            name
            for name in sorted(names)
            if not isinstance(before, dict) or before.get(name) != now.get(name)
        ]
        raise RecipeError(
            f"{checkpoint.folder} is a checkpoint of other settings ({', '.join(changed)} differ): "
            "train with those, or into another folder"
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob("[0-9]*") if one.is_dir()) if folder.is_dir() else []


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
