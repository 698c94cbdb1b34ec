"""Two corpora judged by what learns from them: equal models, seeds and steps, one held-out set."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from model.evaluate import EvalConfig, evaluate
from model.metrics_file import merge_metrics
from model.train import TrainConfig, run
from schemas.errors import RecipeError

HEADLINES: Final = {
    "caption": "f1",
    "vqa": "accuracy",
    "referring": "acc@0.5",
    "grounding": "f1",
    "grounded_caption": "accuracy",
    "ocr": "anls",
}
"""The figure of each task that counts; all are 0 to 1, higher is better."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One corpus: the mean headline of each seed's model, and of those the mean and the deviation."""

    scores: tuple[float, ...]
    mean: float
    deviation: float


def judge(
    first: TrainConfig, second: TrainConfig, held_out: EvalConfig, seeds: Sequence[int]
) -> dict[str, Any]:
    """Trains on both corpora with each seed, evaluates all models on `held_out`, and says which is better.

    Everything but the corpus is the first config's. Results, and all models, lie in the first's `out`;
    `better` is None where the means differ by no more than twice the larger deviation.
    """
    if len(set(seeds)) < 2:
        raise RecipeError(
            "a judgement needs at least two different seeds, or there is no spread to hold it against"
        )
    found = {
        name: _judged([_score(first, corpus, name, held_out, seed) for seed in seeds])
        for name, corpus in (("a", first.corpus), ("b", second.corpus))
    }
    gap = found["b"].mean - found["a"].mean
    spread = max(one.deviation for one in found.values())
    better = None if abs(gap) <= 2 * spread else "b" if gap > 0 else "a"
    result: dict[str, Any] = {
        name: {"scores": list(one.scores), "mean": one.mean, "deviation": one.deviation}
        for name, one in found.items()
    }
    result |= {"gap": gap, "better": better, "seeds": list(seeds)}
    merge_metrics(first.out / "judgement.json", {"judgement": result})
    return result


def headline(figures: Mapping[str, Any]) -> float:
    """The mean over tasks of their headline figures."""
    values = [
        figures[task][name]["value"] for task, name in HEADLINES.items() if name in figures.get(task, {})
    ]
    if not values:
        raise RecipeError("the held-out shards have no task that a judgement counts")
    return statistics.fmean(values)


def _score(config: TrainConfig, corpus: str, name: str, held_out: EvalConfig, seed: int) -> float:
    out = config.out / f"{name}-{seed}"
    own = replace(config, corpus=corpus, out=out, seed=seed)
    last = list(run(own))[-1]
    model: Path = own.folder / last
    return headline(evaluate(replace(held_out, model=model, out=out / "train", chance=False)))


def _judged(scores: Sequence[float]) -> Judged:
    return Judged(tuple(scores), statistics.fmean(scores), statistics.stdev(scores))
