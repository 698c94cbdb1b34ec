"""Held-out shards put to a model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from model import checkpoint
from model import evaluate as evaluation
from model.encode import encode_pieces, prompt_pieces
from model.evaluate import EvalConfig, Question, _task, evaluate, exchanged
from model.generate import Prompt
from model.images import square
from model.qwen_vl import QwenVL, build
from model.tasks import ANSWERED, Known
from schemas.errors import InputError
from schemas.markup import STAGE2
from schemas.sample import Example, Image, ImageRef, Phrase, Segment, Text, Turn
from tests.model.corpora import TINY, corpus, example, items, tokenizer

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
    checkpoint.save(folder, TINY, build(TINY, 1).state_dict(), tokenizer())
    return folder


def _config(tmp_path: Path, model: Path, **given: Any) -> EvalConfig:
    corpus(tmp_path / "corpus", COUNTS, split="eval")
    made = EvalConfig(model, str(tmp_path / "corpus"), tmp_path / "out", device="cpu", batch=4)
    return replace(made, **given)


def test_figures(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task has its figures, with value, chance and n, in metrics.json beside the stages'."""
    short = {name: one._replace(limit=6) for name, one in ANSWERED.items()}
    monkeypatch.setattr(evaluation, "ANSWERED", short)
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
    """Puts in the model's place one that reads the truth off the images' colours."""
    truth = {}
    for task in COUNTS:
        for made in items(task, 12, split="eval") if task != "text" else ():
            for one in made.sample.examples:
                prompt, target = prompt_pieces(one, STAGE2)
                own = tokenizer()
                ids = [number for piece in target for number in own.encode_piece(piece, 4)]
                asked = encode_pieces(prompt, own, 4).ids
                truth[asked, square(made.images[0], 16).tobytes()] = ids[:-1]

    def answers(model: QwenVL, prompts: list[Prompt], *rest: object) -> list[list[int]]:
        return [truth.get((one.ids, one.images[0].tobytes()), []) for one in prompts]

    monkeypatch.setattr(evaluation, "generate", answers)


def test_perfect_answers(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers as taught get full marks through text and back, and with other images they get far less."""
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


def _counted(objects: int, number: int) -> list[Question]:
    """A question on an image of so many objects, and the sample that knows their boxes."""
    picture = np.full((3, 16, 16), 10 * number + objects, np.uint8)
    image = Image("PNG", 64, 48, f"{number:064x}")
    boxes = [(5 * at, 2, 5 * at + 4, 9) for at in range(objects)]
    phrases = tuple(Phrase(f"thing {at}", (box,), (), True) for at, box in enumerate(boxes))
    turns: dict[str, tuple[Segment, ...]] = {
        "vqa": (ImageRef(0), Text("How many?"), Text(str(objects), supervised=True)),
        "grounding": (ImageRef(0), *phrases),
    }
    return [
        Question(
            sample := Example(
                f"{number:08x}-{task}-0", task, "eval", "en", "s", "", (image,), (Turn("document", told),)
            ),
            prompt_pieces(sample, STAGE2)[0],
            (picture,),
            b"",
        )
        for task, told in turns.items()
    ]


def test_by_objects(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headline is of images with more than one object, and each number of objects has its own figure;
    chance is what the same model says to another image."""
    made = [_counted(objects, number) for number, objects in enumerate((1, 2, 3, 4, 2, 1))]
    known = Known()
    for pair in made:
        for one in pair:
            known.add(one.sample)
    questions = [pair[0] for pair in made]
    own = tokenizer()
    # a model that counts rightly whatever image it is shown, but for the one with three objects
    says = {at % 10: str(at % 10 if at % 10 != 3 else 9) for at in (1, 2, 3, 4)}

    def answers(model: QwenVL, prompts: list[Prompt], *rest: object) -> list[list[int]]:
        return [own.encode(says[int(one.images[0].max()) % 10]) for one in prompts]

    monkeypatch.setattr(evaluation, "generate", answers)
    model, tokens = checkpoint.from_pretrained(model_folder)
    config = EvalConfig(model_folder, str(tmp_path), tmp_path, device="cpu")
    figures, kept = _task(config, model, tokens, questions, known)
    # shown instead are the images with 4, 2, 1, 1, 2, 3 objects
    assert [one.exchanged for one in kept] == ["4", "2", "1", "1", "2", "9"]
    assert figures["accuracy"] == {"value": 3 / 4, "chance": 2 / 4, "n": 4}
    assert {number: one["accuracy"] for number, one in figures["by_objects"].items()} == {
        "1": {"value": 1.0, "chance": 0.0, "n": 2},
        "2": {"value": 1.0, "chance": 1.0, "n": 2},
        "3": {"value": 0.0, "chance": 0.0, "n": 1},
        "4": {"value": 1.0, "chance": 0.0, "n": 1},
    }
    assert [one.objects for one in kept] == [1, 2, 3, 4, 2, 1]


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
    """Each question is given another image than its own, where there is another."""
    made = [Question(example("vqa", at // 3, at % 3), (), (at // 3,), b"") for at in range(9)]
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
    checkpoint.save(model_folder, TINY, model.state_dict(), tokenizer())
    figures = evaluate(_config(tmp_path, model_folder, tasks=("text",)))
    assert figures["text"]["perplexity"] == pytest.approx(TINY.language.vocab, rel=1e-4)
