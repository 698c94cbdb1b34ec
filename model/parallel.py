"""One process or many: ranks, devices, sharding, and sums over ranks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from model.qwen_vl import QwenVL
from schemas.errors import RecipeError


def ranks() -> tuple[int, int, int]:
    """Returns rank, world and local rank that torchrun put into the environment; 0, 1, 0 where nobody did."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return rank, world, int(os.environ.get("LOCAL_RANK", str(rank)))


def device_of(wanted: str, local_rank: int = 0) -> torch.device:
    """Returns the device of `auto`, `cpu` or `cuda`; raises RecipeError where a GPU is asked for and there is none."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError("a GPU is asked for, but PyTorch finds none here: say --device cpu or auto")
    if wanted not in ("cpu", "cuda"):
        raise RecipeError(f"there is no device {wanted!r}: choose auto, cpu or cuda")
    return torch.device("cuda", local_rank) if wanted == "cuda" else torch.device("cpu")


def halves(precision: str, device: torch.device) -> bool:
    """Returns whether autocast to bf16 is meant: `auto` means it on GPUs alone."""
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


@contextmanager
def process_group(rank: int, world: int, device: torch.device) -> Iterator[None]:
    """Lets ranks speak; a group that the caller (torchrun, Ray Train) opened stays open."""
    own = world > 1 and not dist.is_initialized()
    if own:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if name not in os.environ:
                raise RecipeError(f"{world} ranks need {name} in the environment: start them with torchrun")
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=world)
    try:
        yield
    finally:
        if own:
            dist.destroy_process_group()


def shard(model: QwenVL, world: int, device: torch.device) -> None:
    """Splits parameters, gradients and optimiser state over the ranks (FSDP2), layer by layer."""
    if world == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world,))
    units: list[nn.Module] = [*model.vision.blocks, model.adapter, *model.language.model.layers, model]
    for unit in units:
        fully_shard(unit, mesh=mesh)
    # ranks must run the same collectives, images or none
    model.always_sees = True


def total(values: list[float], world: int, device: torch.device) -> list[float]:
    if world == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor)
    return [float(one) for one in tensor]


def gathered(value: Any, world: int) -> list[Any]:
    if world == 1:
        return [value]
    found: list[Any] = [None] * world
    dist.all_gather_object(found, value)
    return found


def barrier(world: int) -> None:
    if world > 1:
        dist.barrier()
