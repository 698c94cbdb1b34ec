"""Corpora judged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model import judge as judging
from model.evaluate import EvalConfig
from model.judge import headline, held_out_of, judge
from model.settings import TrainConfig
from schemas.errors import InputError, RecipeError
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
    [([0.2, 0.6, 0.3, 0.7], "b"), ([0.6, 0.2, 0.7, 0.3], "a"), ([0.2, 0.5, 0.5, 0.6], None)],
)
def test_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], better: str | None
) -> None:
    """The better corpus beats the other by more than twice the larger deviation; a loss is better when lower."""
    given = iter(scores)
    monkeypatch.setattr(judging, "run", lambda config: {"stage2": {"seconds": 2.0, "tokens_per_s": 50.0}})

    def answer(config: EvalConfig) -> dict[str, Any]:
        value = next(given)
        return {"vqa": {"accuracy": {"value": value}, "loss": value}}

    monkeypatch.setattr(judging, "evaluate", answer)
    found = judge(*_configs(tmp_path), seeds=[0, 1])
    assert found["better"] == found["figures"]["vqa.accuracy"]["better"] == better
    assert found["figures"]["vqa.loss"]["better"] == {"a": "b", "b": "a", None: None}[better]
    assert found["tokens"] == {"a": [100, 100], "b": [100, 100]}


def test_headline() -> None:
    """The held-out mean is over tasks, whatever number of figures each has."""
    caption = {"f1": {"value": 0.2}, "choice": {"value": 0.6}, "cider": {"value": 9.0}, "loss": 5.0}
    assert headline({"caption": caption, "vqa": {"accuracy": {"value": 0.8}}}) == pytest.approx(0.6)


def test_one_tokenizer(tmp_path: Path) -> None:
    """Both corpora's models count in the same tokens."""
    first, second, held = _configs(tmp_path)
    judge(first, second, held, seeds=[0, 1])
    files = [
        tmp_path / "out" / f"{name}-{seed}/train/stage2/tokenizer.json" for name in "ab" for seed in (0, 1)
    ]
    assert len({path.read_bytes() for path in files}) == 1
    assert not (tmp_path / "out" / "a-0" / "train" / "tokenizer").exists()


def test_held_out(tmp_path: Path) -> None:
    """Where no held-out set is named it is the first corpus that has eval samples; without any, a sentence."""
    first, second, _ = _configs(tmp_path)
    with pytest.raises(InputError, match="--held-out"):
        held_out_of(first, second)
    corpus(tmp_path / "b", {"caption": 3}, split="eval")
    assert held_out_of(first, second) == second.corpus
    corpus(tmp_path / "a", {"caption": 3}, split="eval")
    assert held_out_of(first, second) == first.corpus


def test_one_seed(tmp_path: Path) -> None:
    """One seed has no spread, so it is refused; so are figures without a headline."""
    with pytest.raises(RecipeError, match="two different seeds"):
        judge(*_configs(tmp_path), seeds=[3])
    with pytest.raises(RecipeError, match="no task"):
        headline({"text": {"perplexity": 3.0}})
