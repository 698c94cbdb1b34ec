"""Held-out shards put to a model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from model import evaluate as evaluation
from model import saved
from model.encode import encode_pieces, prompt_pieces
from model.evaluate import EvalConfig, Question, evaluate, exchanged
from model.generate import Prompt
from model.pictures import square
from model.qwen_vl import QwenVL, build
from schemas.errors import InputError
from schemas.markup import STAGE2
from tests.model.corpora import TINY, corpus, item, items, tokenizer

COUNTS = {
    "caption": 12,
    "vqa": 12,
    "referring": 12,
    "grounded_caption": 6,
    "grounding": 6,
    "ocr": 6,
    "text": 6,
}


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A model that knows nothing."""
    folder = tmp_path / "model"
    saved.save(folder, TINY, build(TINY, 1).state_dict(), tokenizer())
    return folder


def _config(tmp_path: Path, model: Path, **given: Any) -> EvalConfig:
    corpus(tmp_path / "corpus", COUNTS, split="eval")
    made = EvalConfig(model, str(tmp_path / "corpus"), tmp_path / "out", device="cpu", batch=4)
    return replace(made, **given)


def test_figures(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task has its figures, with value, chance and n, in metrics.json beside the stages'."""
    monkeypatch.setattr(evaluation, "LIMITS", dict.fromkeys(COUNTS, 6))
    made = _config(tmp_path, model_folder)
    made.out.mkdir()
    (made.out / "metrics.json").write_text('{"stage1": {"loss_last": 1.0}}')
    figures = evaluate(made)
    whole = json.loads((made.out / "metrics.json").read_text())
    assert whole["stage1"] == {"loss_last": 1.0}
    assert whole["eval"] == figures
    expected = {
        "caption": ("f1", "cider"),
        "vqa": ("accuracy",),
        "referring": ("acc@0.5",),
        "grounding": ("f1",),
        "grounded_caption": ("accuracy",),
        "ocr": ("cer", "anls"),
    }
    for task, names in expected.items():
        for name in names:
            assert {"value", "chance", "n"} == set(figures[task][name])
        assert figures[task]["loss"] > 0
    assert figures["text"]["perplexity"] == pytest.approx(np.exp(figures["text"]["loss"]))
    rows = pq.read_table(made.out / "predictions.parquet").to_pylist()
    assert len(rows) == sum(COUNTS.values()) - COUNTS["text"]
    page = (made.out / "predictions.html").read_text()
    assert page.count("data:image/jpeg") == len(rows)


def _oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts in the model's place one that reads the truth off the pictures' colours."""
    truth = {}
    for task in COUNTS:
        for one in items(task, 12, split="eval"):
            if task != "text":
                _, target = prompt_pieces(one.sample, STAGE2)
                own = tokenizer()
                ids = [number for piece in target for number in own.encode_piece(piece, 4)]
                prompt = prompt_pieces(one.sample, STAGE2)[0]
                asked = encode_pieces(prompt, own, 4).ids
                truth[asked, square(one.images[0], 16).tobytes()] = ids[:-1]

    def answers(model: QwenVL, prompts: list[Prompt], *rest: object) -> list[list[int]]:
        return [truth.get((one.ids, one.pictures[0].tobytes()), []) for one in prompts]

    monkeypatch.setattr(evaluation, "generate", answers)


def test_perfect_answers(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers as taught get full marks through text and back, and with other pictures they get far less."""
    _oracle(monkeypatch)
    figures = evaluate(_config(tmp_path, model_folder))
    assert figures["vqa"]["accuracy"]["value"] == 1.0
    assert figures["referring"]["acc@0.5"]["value"] == 1.0
    assert figures["caption"]["f1"]["value"] == 1.0
    assert figures["caption"]["cider"]["value"] > 5
    assert figures["grounding"]["f1"]["value"] == 1.0
    assert figures["grounded_caption"]["accuracy"]["value"] == 1.0
    assert figures["ocr"]["cer"]["value"] == 0.0
    assert figures["ocr"]["anls"]["value"] == 1.0
    assert figures["referring"]["acc@0.5"]["chance"] < 0.5
    assert figures["caption"]["f1"]["chance"] < 1.0
    assert figures["referring"]["by_objects"]["1"]["acc@0.5"]["n"] == 12


def test_limit(tmp_path: Path, model_folder: Path) -> None:
    """At most `limit` samples a task are asked, the same for the same seed."""
    rows = []
    for out in ("a", "b"):
        made = _config(tmp_path, model_folder, limit=5, out=tmp_path / out, tasks=("vqa",))
        evaluate(made)
        rows.append(pq.read_table(made.out / "predictions.parquet").to_pylist())
    assert len(rows[0]) == 5
    assert rows[0] == rows[1]


def test_exchange() -> None:
    """Each question is given another picture than its own, where there is another."""
    made = [Question(item("vqa", at // 3, at % 3).sample, (), (at // 3,), b"") for at in range(9)]
    for question, other in zip(made, exchanged(made), strict=True):
        assert question.sample.images[0].sha256 != other.sample.images[0].sha256
    assert exchanged(made[:3]) == made[:3]


def test_no_eval_shards(tmp_path: Path, model_folder: Path) -> None:
    """Shards of another split are not evaluated by mistake."""
    corpus(tmp_path / "corpus", {"caption": 4})
    with pytest.raises(InputError, match="no eval shards"):
        evaluate(EvalConfig(model_folder, str(tmp_path / "corpus"), tmp_path / "out", device="cpu"))


def test_perplexity_of_a_uniform_model(tmp_path: Path, model_folder: Path) -> None:
    """A model that finds every token equally likely has the vocabulary's size as perplexity."""
    model = build(TINY)
    with torch.no_grad():
        model.language.lm_head.weight.zero_()
    saved.save(model_folder, TINY, model.state_dict(), tokenizer())
    figures = evaluate(_config(tmp_path, model_folder, tasks=("text",)))
    assert figures["text"]["perplexity"] == pytest.approx(TINY.language.vocab, rel=1e-4)
