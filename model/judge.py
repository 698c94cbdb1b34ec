"""Two corpora judged by what learns from them: equal models, seeds and steps, one held-out set."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from model import shards
from model.evaluate import EvalConfig, evaluate
from model.journal import merge_metrics
from model.settings import TrainConfig
from model.store import Store
from model.tasks import ANSWERED
from model.train import run
from model.warm_start import learn_tokenizer
from schemas.errors import InputError, RecipeError

MEAN: Final = "mean"
"""The held-out mean: over tasks, of the mean of each one's headline figures. The verdict goes by it."""


def judge(
    first: TrainConfig, second: TrainConfig, held_out: EvalConfig, seeds: Sequence[int]
) -> dict[str, Any]:
    """Trains on both corpora with each seed, evaluates all models on `held_out`, and says which is better.

    Everything but the corpus is the first config's, and one tokenizer, learned from both, serves all. Results,
    and all models, lie in the first's `out`; `better` is None where the means differ by no more than twice the
    larger deviation. `figures` has the same of each figure, `tokens` what each model was trained on.
    """
    if len(set(seeds)) < 2:
        raise RecipeError(
            "a judgement needs at least two different seeds, or there is no spread to hold it against"
        )
    first = replace(first, init=_tokenizer(first, second.corpus))
    runs: dict[str, list[dict[str, float]]] = {"a": [], "b": []}
    tokens: dict[str, list[int]] = {"a": [], "b": []}
    # by turns, so that a machine's mood falls on both
    for seed in seeds:
        for name, corpus in (("a", first.corpus), ("b", second.corpus)):
            figures, seen = _trained(first, corpus, name, held_out, seed)
            runs[name].append(figures)
            tokens[name].append(seen)
    compared = {figure: _compared(figure, runs) for figure in runs["a"][0]}
    overall = compared.pop(MEAN)
    result = overall | {"figures": compared, "tokens": tokens, "seeds": list(seeds)}
    merge_metrics(first.out / "judgement.json", {"judgement": result})
    return result


def held_out_of(first: TrainConfig, second: TrainConfig) -> str:
    """Returns the corpus whose eval samples both are asked where none is named: the first's own, or the second's."""
    for config in (first, second):
        try:
            shards.find(Store(config.corpus, config.storage_options), "eval")
        except InputError:
            continue
        return config.corpus
    raise InputError("neither corpus has eval samples (a source with role: eval): name one with --held-out")


def headline(figures: Mapping[str, Any]) -> float:
    """Returns the mean over tasks of their headline figures."""
    values = [
        statistics.fmean(figures[task][name]["value"] for name in names if name in figures[task])
        for task, (_, _, names) in ANSWERED.items()
        if any(name in figures.get(task, {}) for name in names)
    ]
    if not values:
        raise RecipeError("the held-out shards have no task that a judgement counts")
    return statistics.fmean(values)


def _tokenizer(config: TrainConfig, other: str) -> dict[str, str]:
    """Returns `init` with one tokenizer for both corpora, so that they start from the same model."""
    if "tokenizer" in config.init or "model" in config.init:
        return dict(config.init)
    folder = config.out / "tokenizer"
    if not folder.is_dir():
        learn_tokenizer(config, [config.corpus, other], folder)
    return {**config.init, "tokenizer": str(folder)}


def _trained(
    config: TrainConfig, corpus: str, name: str, held_out: EvalConfig, seed: int
) -> tuple[dict[str, float], int]:
    """Returns the figures of one model, and how many tokens it was trained on."""
    out = config.out / f"{name}-{seed}"
    own = replace(config, corpus=corpus, out=out, seed=seed)
    stages = run(own)
    model: Path = own.folder / list(stages)[-1]
    asked = replace(held_out, model=model, out=out / "train", chance=False, choose=True)
    figures = evaluate(asked)
    found = {MEAN: headline(figures)}
    for task, own in figures.items():
        headlines = ANSWERED[task].headlines if task in ANSWERED else ()
        for figure in (*headlines, "loss"):
            if figure in own:
                value = own[figure]
                found[f"{task}.{figure}"] = value["value"] if isinstance(value, Mapping) else value
    tokens = sum(one.get("tokens_per_s", 0) * one.get("seconds", 0) for one in stages.values())
    return found, round(tokens)


def _compared(figure: str, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Returns both corpora's scores, and which is better by more than twice the larger deviation, if one is."""
    a, b = (_over_seeds([one[figure] for one in runs[name]]) for name in ("a", "b"))
    gap = b["mean"] - a["mean"]
    better = None
    if abs(gap) > 2 * max(a["deviation"], b["deviation"]):
        # of losses the lower is better
        better = "b" if (gap > 0) != figure.endswith(".loss") else "a"
    return {"a": a, "b": b, "gap": gap, "better": better}


def _over_seeds(scores: list[float]) -> dict[str, Any]:
    return {"scores": scores, "mean": statistics.fmean(scores), "deviation": statistics.stdev(scores)}
