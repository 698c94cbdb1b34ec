"""The commands train, eval and chat: from the command line to the bundled model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines import recipes
from schemas.errors import InputError


@dataclass(frozen=True)
class Training:
    """What `vlcorpus train` is asked for."""

    corpus: str
    out: Path
    stage: str
    preset: str
    steps: int | None
    seed: int
    device: str
    workers: int


def train(asked: Training) -> None:
    """Train, and print where the figures are."""
    with _torch():
        from model.parallel import ranks
        from model.train import run
    config = _config(asked)
    # torchrun starts this command once a rank
    rank, world, local_rank = ranks()
    run(config, rank, world, local_rank)
    if rank == 0:
        print(f"trained: {config.folder} (metrics.json has the figures of each stage)")


def judge(first: Training, second: str, held_out: str, seeds: int, limit: int) -> None:
    """Train on two corpora alike, answer the same held-out samples, and print which corpus taught more."""
    with _torch():
        from model.evaluate import EvalConfig
        from model.judge import judge as compare
    config = _config(first)
    other = replace(config, corpus=corpus_of(second))
    samples = EvalConfig(config.folder, corpus_of(held_out), config.folder, limit=limit, device=first.device)
    result = compare(config, other, samples, range(seeds))
    print(json.dumps(result, indent=1, sort_keys=True))


def _config(asked: Training) -> Any:
    from model.stages import STAGES
    from model.train import TrainConfig, stages_for

    names = ("language", *STAGES)
    stages = () if asked.stage == "all" else tuple(asked.stage.split(","))
    unknown = [name for name in stages if name not in names]
    if unknown:
        raise InputError(f"there is no stage {unknown[0]!r}: give all, or of {', '.join(names)}")
    config = TrainConfig(
        corpus=corpus_of(asked.corpus),
        out=asked.out,
        stages=stages,
        preset=asked.preset,
        seed=asked.seed,
        steps=asked.steps,
        device=asked.device,
        workers=asked.workers,
    )
    return config if stages else replace(config, stages=stages_for(config))


def evaluate(model: Path, shards: str, out: Path, split: str, limit: int, device: str) -> None:
    """Evaluate, and print the figures."""
    with _torch():
        from model.evaluate import EvalConfig
        from model.evaluate import evaluate as answer
    figures: dict[str, Any] = answer(EvalConfig(model, shards, out, split=split, limit=limit, device=device))
    print(json.dumps(figures, indent=1, ensure_ascii=False, sort_keys=True))


def chat(model: Path, pictures: list[Path], out: Path, device: str) -> None:
    """Talk on the terminal."""
    with _torch():
        from model.chat import chat as talk
    talk(model, pictures, out, device=device)


def corpus_of(what: str) -> str:
    """The folder of a corpus, given itself or by the recipe that made it."""
    return recipes.from_file(what).out if what.endswith((".yaml", ".yml")) else what


@contextmanager
def _torch() -> Iterator[None]:
    """A sentence where the packages of the extra `train` are missing."""
    try:
        yield
    except ImportError as error:
        if error.name and error.name.partition(".")[0] in ("model", "schemas"):
            raise
        raise InputError(f"training needs the package {error.name}: pip install 'vlcorpus[train]'") from error
