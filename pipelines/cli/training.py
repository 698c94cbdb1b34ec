"""The commands train, eval and chat: from the command line to the bundled model."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.recipe import load as recipes
from schemas.errors import InputError, missing
from schemas.plain import say


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
    workers: int | None
    init: tuple[str, ...] = ()


def train(asked: Training) -> None:
    """Train, and print where the figures are."""
    with _torch():
        from model.parallel import ranks
        from model.train import run
    config = _config(asked)
    # torchrun starts this command once a rank
    rank, world, local_rank = ranks()
    began = time.perf_counter()
    run(config, rank, world, local_rank)
    if rank == 0:
        minutes, seconds = divmod(round(time.perf_counter() - began), 60)
        say(
            f"trained in {minutes} min {seconds} s: {config.folder} (metrics.json has the figures of each stage)"
        )


def judge(first: Training, second: str, held_out: str | None, seeds: int, limit: int) -> None:
    """Train on two corpora alike, answer the same held-out samples, and print which corpus taught more."""
    with _torch():
        from model.evaluate import EvalConfig
        from model.judge import held_out_of
        from model.judge import judge as compare
    config = _config(first)
    other = replace(config, corpus=corpus_of(second))
    asked = corpus_of(held_out) if held_out else held_out_of(config, other)
    samples = EvalConfig(config.folder, asked, config.folder, limit=limit, device=first.device)
    result = compare(config, other, samples, range(seeds))
    names = {"a": config.corpus, "b": other.corpus}
    say(f"held out: {asked}; {seeds} models each; mean and deviation over seeds")
    for figure, one in [*sorted(result["figures"].items()), ("held-out mean", result)]:
        shown = ", ".join(
            f"{name} {one[at]['mean']:.4f} ± {one[at]['deviation']:.4f}" for at, name in names.items()
        )
        better = names.get(one["better"], "neither")
        say(f"  {figure}: {shown}; better by more than twice the larger deviation: {better}")
    say(f"judgement: {config.out / 'judgement.json'}")


def _config(asked: Training) -> Any:
    from model.settings import TrainConfig, stages_for
    from model.stages import ORDER

    stages = () if asked.stage == "all" else tuple(asked.stage.split(","))
    unknown = [name for name in stages if name not in ORDER]
    if unknown:
        raise InputError(f"there is no stage {unknown[0]!r}: give all, or of {', '.join(ORDER)}")
    config = TrainConfig(
        corpus=corpus_of(asked.corpus),
        out=asked.out,
        stages=stages,
        preset=asked.preset,
        seed=asked.seed,
        steps=asked.steps,
        device=asked.device,
        workers=asked.workers,
        init=_init(asked),
    )
    return config if stages else replace(config, stages=stages_for(config))


def _init(asked: Training) -> dict[str, str]:
    """Where each part starts: as asked for (`none`: all at random), else as the preset has it.

    `embedded` is the image tower of the CLIP that comes with the package.
    """
    from filters.clip.source import FOLDER
    from model.config import preset_document

    if asked.init == ("none",):
        return {}
    pairs = [one.partition("=") for one in asked.init]
    wrong = [part + sign + value for part, sign, value in pairs if not (part and value)]
    if wrong:
        raise InputError(f"--init takes PART=PATH or none, not {wrong[0]!r}: for example vision=embedded")
    given = {part: value for part, _, value in pairs}
    if "model" not in given:  # a whole model brings its own parts
        given = {**preset_document(asked.preset).get("init", {}), **given}
    return {part: str(FOLDER) if value == "embedded" else str(value) for part, value in given.items()}


def evaluate(model: Path, shards: str, out: Path, split: str, limit: int, device: str) -> None:
    """Evaluate, and print the figures."""
    with _torch():
        from model.evaluate import EvalConfig
        from model.evaluate import evaluate as answer
    figures: dict[str, Any] = answer(EvalConfig(model, shards, out, split=split, limit=limit, device=device))
    say(*json.dumps(figures, indent=1, ensure_ascii=False, sort_keys=True).splitlines())


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
        raise InputError(missing("training", error.name or "torch")) from error
