"""Tensors out of other people's checkpoints: safetensors, or PyTorch files read as data alone."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from schemas.errors import InputError

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def files(path: Path) -> list[Path]:
    """The weight files that a file or a folder stands for; safetensors where there are any."""
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
    """Every tensor of a checkpoint by its name, one file after the other; InputError names a damaged file."""
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


def read_json(path: Path) -> dict[str, object]:
    """The JSON object in a file, or nothing where there is no such file."""
    if not path.is_file():
        return {}
    value = json.loads(path.read_text("utf-8"))
    return value if isinstance(value, dict) else {}
