"""The settings of a training run, and what follows from them and the corpus: its stages, their mixtures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from model import shards
from model.config import ModelConfig, preset, preset_document
from model.manifest import mixture
from model.oracle import GROUNDED
from model.stages import STAGES, StageConfig, stage_config
from model.store import Store
from schemas.errors import RecipeError
from schemas.mixture import Portion, matching

BESIDE_GPU: Final = 4
"""Loader processes of a rank on a GPU: some 2,000 images of 224 px a second, where `base` takes some 200 with half of
an H200's arithmetic (by calculation)."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A training run. `stages`: any of primer, language, sight, 1, 2, 3, in this order.

    `init`: where to start instead of at random: `vision` (an open_clip checkpoint), `language` (a Hugging
    Face folder), `model` (a folder of ours, or Qwen-VL's published one), `tokenizer` (a folder of ours, or
    Qwen's tiktoken file). `overrides`: fields of a stage by the stage's name. `steps`: for every stage.
    `workers`: loader processes of a rank; None: four beside a GPU, none on a CPU, whose cores the model needs. A script
    that has any needs the usual guard, `if __name__ == "__main__"`.
    """

    corpus: str
    out: Path
    stages: tuple[str, ...] = STAGES
    preset: str = "tiny"
    seed: int = 0
    init: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    steps: int | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    threads: int | None = None
    checkpoint_every: int = 200
    log_every: int = 1
    compile: bool = False
    recompute: bool = False
    split: str = "train"
    stop_after: int | None = None

    @property
    def folder(self) -> Path:
        return self.out / "train"


@dataclass(frozen=True)
class Place:
    """The run as one rank sees it."""

    config: TrainConfig
    rank: int
    world: int
    device: torch.device

    @property
    def store(self) -> Store:
        return Store(self.config.corpus, self.config.storage_options)

    @cached_property
    def model(self) -> ModelConfig:
        """Returns the preset's shape, read once: every step counts its arithmetic by it."""
        return preset(self.config.preset)

    @property
    def workers(self) -> int:
        """Returns loader processes: those asked for, else as many as suit the device.

        No number of the host's cores, since the order of samples depends on it.
        """
        if self.config.workers is not None:
            return self.config.workers
        return BESIDE_GPU if self.device.type == "cuda" else 0


def check(config: TrainConfig) -> None:
    """Raises RecipeError where settings name what there is not."""
    unknown = sorted(set(config.init) - {"vision", "language", "model", "tokenizer"})
    if unknown:
        raise RecipeError(f"init: unknown {', '.join(unknown)}; there is vision, language, model, tokenizer")
    if not config.stages:
        raise RecipeError("no stage is asked for")
    if config.precision not in ("auto", "bf16", "fp32"):
        raise RecipeError(f"there is no precision {config.precision!r}: choose auto, bf16 or fp32")


def stage_settings(config: TrainConfig, name: str) -> StageConfig:
    """Returns stage `name` as this run trains it."""
    given = dict(config.overrides.get(name, {}))
    if config.steps is not None:
        given["steps"] = config.steps
    return stage_config(config.preset, name, given)


def stages_for(config: TrainConfig) -> tuple[str, ...]:
    """Returns the stages that `all` stands for: the paper's that the corpus has samples for, and before them, where the
    language model would start at random, `language`, and what else the preset has of `FIRST`: `primer` where the
    corpus holds what it reads, `sight` where it holds grounded samples.
    """
    store = Store(config.corpus, config.storage_options)
    strata = shards.find(store, config.split)
    there = {one.task for one in strata}
    fitting = [name for name in STAGES if there & set(stage_settings(config, name).tasks)]
    first: list[str] = []
    if not {"language", "model"} & config.init.keys():
        numbers = preset_document(config.preset).get("stages", {})
        plain = numbers.get("primer", {}).get("mixture", {})
        names = [one.name for one in strata]
        first = [
            name
            for name, wanted in (
                ("primer", bool(plain) and all(matching([one], names) for one in plain)),
                ("language", True),
                ("sight", "sight" in numbers and bool(there & set(GROUNDED))),
            )
            if wanted
        ]
    return (*first, *fitting)


def mixture_of(
    config: TrainConfig, stage: StageConfig, strata: Sequence[shards.Stratum]
) -> Mapping[str, Portion]:
    """Returns the mixture that this run asks for; else the corpus's own, else the preset's.

    Of the latter two only what names strata that the stage reads counts; where that is nothing, the next one holds.
    """
    if "mixture" in config.overrides.get(stage.name, {}):
        return stage.mixture
    names = [one.name for one in strata]
    for given in (mixture(Store(config.corpus, config.storage_options)), stage.mixture):
        if held := {text: portion for text, portion in given.items() if matching([text], names)}:
            return held
    return {}
