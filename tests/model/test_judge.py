"""Corpora judged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model import judge as judging
from model.evaluate import EvalConfig
from model.judge import headline, judge
from model.train import TrainConfig
from schemas.errors import RecipeError
from tests.model.corpora import corpus, preset_file


def _configs(folder: Path) -> tuple[TrainConfig, TrainConfig, EvalConfig]:
    for name in ("a", "b"):
        corpus(folder / name, {"caption": 12, "vqa": 12})
    corpus(folder / "held", {"vqa": 6}, split="eval")
    first = TrainConfig(
        str(folder / "a"), folder / "out", ("2",), preset_file(folder), device="cpu", threads=1, steps=2
    )
    held = EvalConfig(folder, str(folder / "held"), folder, device="cpu")
    return first, replace(first, corpus=str(folder / "b")), held


def test_equal_corpora(tmp_path: Path) -> None:
    """Two corpora of the same samples have the same scores, seed by seed, and none is better."""
    found = judge(*_configs(tmp_path), seeds=[0, 1])
    assert found["a"]["scores"] == found["b"]["scores"]
    assert len(found["a"]["scores"]) == 2
    assert found["better"] is None
    assert (tmp_path / "out" / "judgement.json").is_file()


@pytest.mark.parametrize(
    ("scores", "better"),
    [([0.2, 0.3, 0.6, 0.7], "b"), ([0.6, 0.7, 0.2, 0.3], "a"), ([0.2, 0.5, 0.5, 0.6], None)],
)
def test_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], better: str | None
) -> None:
    """The better corpus beats the other by more than twice the larger deviation."""
    given = iter(scores)
    monkeypatch.setattr(judging, "run", lambda config: {"stage2": {}})
    answer: Any = lambda config: {"vqa": {"accuracy": {"value": next(given)}}}  # noqa: E731
    monkeypatch.setattr(judging, "evaluate", answer)
    assert judge(*_configs(tmp_path), seeds=[0, 1])["better"] == better


def test_one_seed(tmp_path: Path) -> None:
    """One seed has no spread, so it is refused; so are figures without a headline."""
    with pytest.raises(RecipeError, match="two different seeds"):
        judge(*_configs(tmp_path), seeds=[3])
    with pytest.raises(RecipeError, match="no task"):
        headline({"text": {"perplexity": 3.0}})
