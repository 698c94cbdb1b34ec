"""Weights of other checkpoints under our names, out of safetensors or PyTorch files read as data alone.

vision     any open_clip ViT: class token and projection dropped, positions resampled
language   a Hugging Face folder: Qwen2's names, or Qwen's own with fused query, key and value
model      a folder of ours, or Qwen-VL as published
"""

import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.config import CLIP_MEAN, CLIP_STD, read_json
from model.qwen_vl import QwenVL
from model.vision import resample
from schemas.errors import InputError, RecipeError

Named = list[tuple[str, Tensor]]
Mapper = Callable[[str, Tensor], Named]
"""What a foreign tensor is here: any number of ours, by name."""


def load_part(model: QwenVL, part: str, path: Path) -> None:
    """Fills `part` (vision, language or model) of a model from a checkpoint.

    RecipeError where the checkpoint lacks a weight, or has one of another size.
    """
    if not path.exists():
        raise RecipeError(f"init.{part}: {path} is not there")
    if part == "vision":
        folder = path if path.is_dir() else path.parent
        fill(model, "vision.", _open_clip(model, folder), tensors(path), str(path))
    elif part == "language":
        fill(model, "language.", _language(model), tensors(path), str(path))
    elif part == "model":
        fill(model, "", _whole(model), tensors(path), str(path))
    else:
        raise RecipeError(f"init: there is no part {part!r}")


def fill(model: QwenVL, prefix: str, mapper: Mapper, found: Iterable[tuple[str, Tensor]], what: str) -> None:
    """Copies what `mapper` makes of `found` into the parameters whose names start with `prefix`, all of them."""
    own = {name: one for name, one in model.state_dict().items() if name.startswith(prefix)}
    missing = set(own)
    for name, tensor in found:
        for target, value in mapper(name, tensor):
            if target not in own:
                raise RecipeError(
                    f"{what}: {name} has no place in preset {model.config.name} (it has fewer layers)"
                )
            if own[target].shape != value.shape:
                raise RecipeError(
                    f"{what}: {name} would make {target} {tuple(value.shape)}, but preset {model.config.name} "
                    f"has {tuple(own[target].shape)}: choose a preset of the checkpoint's sizes"
                )
            with torch.no_grad():
                own[target].copy_(value)
            missing.discard(target)
    if missing:
        raise RecipeError(f"{what} lacks {len(missing)} weights, the first {min(missing)}")


_CLIP_BLOCK: Final = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")


def _block(name: str) -> str | None:
    """Returns our name of a weight of a vision block, None where it is of no block."""
    match = _CLIP_BLOCK.fullmatch(_linear(name))
    return f"vision.blocks.{match[1]}.{match[2].removeprefix('mlp.')}" if match else None


def _linear(name: str) -> str:
    """Returns a name with the fused projection, a parameter of torch's attention, as a layer of ours."""
    return name.replace("in_proj_", "in_proj.")


def _open_clip(model: QwenVL, folder: Path) -> Mapper:
    grid = model.config.vision.grid
    mean, std = _normalisation(folder)

    def mapped(name: str, tensor: Tensor) -> Named:
        name = name.removeprefix("module.")
        if not name.startswith("visual."):
            return []
        name = name.removeprefix("visual.")
        if name.startswith("trunk."):
            raise RecipeError(f"{folder}: the image tower is timm's, not open_clip's own ViT")
        if name == "conv1.weight":
            return [("vision.conv1.weight", tensor.float() * (_tensor(CLIP_STD) / std))]
        if name == "positional_embedding":
            # row 0 is the class token's
            return [("vision.positions", resample(tensor[1:].float(), grid))]
        if name.startswith("ln_pre."):
            return [(f"vision.{name}", tensor)]
        block = _block(name)
        return [(block, tensor)] if block else []

    return _with_shift(mapped, mean, std)


def _with_shift(mapped: Mapper, mean: Tensor, std: Tensor) -> Mapper:
    """Returns `mapped`, with what the other normalisation adds to each patch added to the positions.

    conv1 takes the scale but has no bias for the constant; each position has room for it. The two tensors
    come in any order, so the one that comes first waits.
    """
    waiting: dict[str, Tensor] = {}

    def shifted(name: str, tensor: Tensor) -> Named:
        made = mapped(name, tensor)
        if not made or made[0][0] not in ("vision.conv1.weight", "vision.positions"):
            return made
        target, value = made[0]
        if target == "vision.conv1.weight":
            waiting["shift"] = (tensor.float() * ((_tensor(CLIP_MEAN) - mean) / std)).sum((1, 2, 3))
        else:
            waiting["positions"] = value
            made = []
        if len(waiting) == 2:
            made.append(("vision.positions", waiting["positions"] + waiting["shift"]))
        return made

    return shifted


def _tensor(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).reshape(1, 3, 1, 1)


def _normalisation(folder: Path) -> tuple[Tensor, Tensor]:
    """Returns mean and deviation, (1, 3, 1, 1), that an open_clip folder's images are normalised by."""
    config = read_json(folder / "open_clip_config.json").get("preprocess_cfg")
    found = config if isinstance(config, dict) else {}
    return _tensor(tuple(found.get("mean", CLIP_MEAN))), _tensor(tuple(found.get("std", CLIP_STD)))


def _language(model: QwenVL) -> Mapper:
    language = model.config.language
    published = _published(model)

    def mapped(name: str, tensor: Tensor) -> Named:
        if name.startswith("transformer."):
            return [] if name.startswith("transformer.visual.") else published(name, tensor)
        if name.endswith("rotary_emb.inv_freq"):
            return []
        if name.endswith(("k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias")):
            # grouped key heads, said once for every query head
            times = language.hidden // tensor.shape[0]
            size = language.hidden // language.heads
            split = tensor.reshape(-1, size, *tensor.shape[1:])
            tensor = split.repeat_interleave(max(times, 1), 0).flatten(0, 1)
        return [(f"language.{name}", tensor)]

    return mapped


def _whole(model: QwenVL) -> Mapper:
    published = _published(model)

    def mapped(name: str, tensor: Tensor) -> Named:
        if name.startswith(("vision.", "adapter.", "language.")):
            return [(name, tensor)]
        return published(name, tensor)

    return mapped


_LAYER: Final = re.compile(r"transformer\.h\.(\d+)\.(.+)")
_LAYER_NAMES: Final = {
    "ln_1.weight": "input_layernorm.weight",
    "ln_2.weight": "post_attention_layernorm.weight",
    "attn.c_proj.weight": "self_attn.o_proj.weight",
    # silu is taken of w2's output
    "mlp.w2.weight": "mlp.gate_proj.weight",
    "mlp.w1.weight": "mlp.up_proj.weight",
    "mlp.c_proj.weight": "mlp.down_proj.weight",
}
_OUTER: Final = {
    "transformer.wte.weight": "language.model.embed_tokens.weight",
    "transformer.ln_f.weight": "language.model.norm.weight",
    "lm_head.weight": "language.lm_head.weight",
}


def _published(model: QwenVL) -> Mapper:
    heads = model.config.vision.heads

    def mapped(name: str, tensor: Tensor) -> Named:
        if name in _OUTER:
            return [(_OUTER[name], tensor)]
        layer = _LAYER.fullmatch(name)
        if layer:
            return _layer(layer[1], layer[2], tensor)
        if name.startswith("transformer.visual."):
            return _visual(name.removeprefix("transformer.visual."), tensor, heads)
        return []

    return mapped


def _layer(number: str, name: str, tensor: Tensor) -> Named:
    prefix = f"language.model.layers.{number}."
    if name in ("attn.c_attn.weight", "attn.c_attn.bias"):
        kind = name.rsplit(".", 1)[1]
        return [
            (f"{prefix}self_attn.{one}_proj.{kind}", part)
            for one, part in zip("qkv", tensor.chunk(3), strict=True)
        ]
    return [(prefix + _LAYER_NAMES[name], tensor)] if name in _LAYER_NAMES else []


def _visual(name: str, tensor: Tensor, heads: int) -> Named:
    block = _block(name)
    if block is not None:
        if block.endswith(("attn.in_proj.weight", "attn.in_proj.bias")):
            tensor = by_kind(tensor, heads)
        return [(block, tensor)]
    if name == "positional_embedding":
        return [("vision.positions", tensor)]
    if name == "conv1.weight" or name.startswith("ln_pre."):
        return [(f"vision.{name}", tensor)]
    if name == "proj":
        # there x @ proj, here a linear layer
        return [("adapter.proj.weight", tensor.T)]
    if name.startswith("ln_post."):
        return [(f"adapter.{name}", tensor)]
    if name.startswith("attn_pool."):
        inner = name.removeprefix("attn_pool.")
        # the fixed positions are computed here
        return [] if inner == "pos_embed" else [(f"adapter.{_linear(inner)}", tensor)]
    return []


def by_kind(fused: Tensor, heads: int) -> Tensor:
    """Returns query, key, value of head 0, then of head 1, …, as all queries, all keys, all values."""
    rest: tuple[Any, ...] = tuple(fused.shape[1:])
    return fused.reshape(heads, 3, -1, *rest).transpose(0, 1).reshape(fused.shape)


_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def files(path: Path) -> list[Path]:
    """Returns the weight files that a file or a folder stands for; safetensors where there are any."""
    if path.is_file():
        return [path]
    for suffix in _SUFFIXES:
        found = sorted(one for one in path.glob(f"*{suffix}") if one.is_file())
        if found:
            return found
    raise InputError(
        f"{path} holds no weights: a {', '.join(_SUFFIXES)} file, or a folder of such, is needed"
    )


def tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yields every tensor of a checkpoint with its name; raises InputError where a file is damaged."""
    for file in files(path):
        try:
            if file.suffix == ".safetensors":
                with safe_open(file, "pt") as opened:
                    for name in opened.keys():  # noqa: SIM118 (no mapping: it has keys alone)
                        yield name, opened.get_tensor(name)
            else:
                yield from _unpickled(file)
        except (
            SafetensorError,
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            pickle.UnpicklingError,
        ) as error:
            raise InputError(f"{file} cannot be read as weights: {error}") from error


def _unpickled(file: Path) -> Iterator[tuple[str, Tensor]]:
    # weights_only admits tensors and plain containers; anything else in the file is refused
    value = torch.load(file, map_location="cpu", weights_only=True)
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict):
        raise InputError(f"{file} holds no state dict")
    for name, tensor in value.items():
        if isinstance(tensor, Tensor):
            yield str(name), tensor
