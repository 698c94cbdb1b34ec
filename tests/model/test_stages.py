"""What learns in each stage, how fast."""

import re
from pathlib import Path

import pytest
import torch

from model import optim, shards
from model.loader import Loader
from model.oracle import Oracle, regions
from model.qwen_vl import PARTS, build
from model.stages import set_trained, stage_config
from model.store import Store
from schemas.errors import RecipeError
from tests.model.corpora import TASKS, TINY, corpus, preset_file, tokenizer
from tests.model.test_loader import feed

LEARNS = {"1": {"vision", "adapter"}, "2": set(PARTS), "3": {"adapter", "language"}, "language": {"language"}}
LEARNS |= {"primer": {"language"}, "sight": {"vision", "adapter"}}


@pytest.mark.parametrize("name", LEARNS)
def test_freezing(tmp_path: Path, name: str) -> None:
    """Each stage lets its parts learn and leaves the others' weights as they were, to the bit."""
    corpus(tmp_path, dict.fromkeys(TASKS, 8))
    stage = stage_config(preset_file(tmp_path), name)
    model = build(TINY, 1).train()
    learning = set_trained(model, stage.trains)
    for part in PARTS:
        assert all(one.requires_grad == (part in LEARNS[name]) for one in getattr(model, part).parameters())
    assert len(learning) == sum(one.requires_grad for one in model.parameters())
    before = {key: one.clone() for key, one in model.state_dict().items()}
    optimiser = optim.optimisers(model, stage)
    batches = iter(Loader(feed(tmp_path, blind=stage.pictures == "told"), tokenizer()))
    store = Store(str(tmp_path))
    known = regions(shards.examples(store, shards.find(store, "train")))
    oracle = None if stage.pictures == "shown" else Oracle(known, tokenizer(), 4, 16)
    for _ in range(3):
        model(next(batches), oracle, stage.pictures == "matched").mean.backward()
        optim.clip_gradients(model, stage.clip)
        optimiser.step()
        optimiser.zero_grad()
    for key, one in model.state_dict().items():
        part = key.split(".")[0]
        if part not in LEARNS[name]:
            assert torch.equal(before[key], one), key
    for part in LEARNS[name]:
        assert any(
            not torch.equal(before[key], one)
            for key, one in model.state_dict().items()
            if key.startswith(part)
        )


def test_layer_wise_decay() -> None:
    """The last block learns at the full rate, each before it at 0.95 of the next, what is below them slowest."""
    assert optim.rate_scale("vision.blocks.47.ln_1.weight", 48, 0.95) == 1.0
    assert optim.rate_scale("vision.blocks.46.attn.in_proj.weight", 48, 0.95) == pytest.approx(0.95)
    assert optim.rate_scale("vision.blocks.0.c_fc.bias", 48, 0.95) == pytest.approx(0.95**47)
    for name in ("vision.conv1.weight", "vision.positions", "vision.ln_pre.bias"):
        assert optim.rate_scale(name, 48, 0.95) == pytest.approx(0.95**48)
    for name in ("adapter.query", "language.model.norm.weight"):
        assert optim.rate_scale(name, 48, 0.95) == 1.0


def test_schedule() -> None:
    """The rate climbs in a line, is highest after the warm-up, and ends on its floor by a cosine."""
    stage = stage_config("qwen-vl-7b", "1")
    assert optim.rate(stage, 0) == pytest.approx(2e-4 / 500)
    assert optim.rate(stage, 499) == pytest.approx(2e-4)
    assert optim.rate(stage, 500) == pytest.approx(2e-4)
    assert optim.rate(stage, 49_999) == pytest.approx(1e-6)
    middle = optim.rate(stage, 500 + 49_499 // 2)
    assert middle == pytest.approx((2e-4 + 1e-6) / 2, rel=1e-3)
    falling = [optim.rate(stage, step) for step in range(500, 50_000, 500)]
    assert falling == sorted(falling, reverse=True)


def test_groups() -> None:
    """Every parameter that learns is in one group; norms and biases do not decay."""
    model = build(TINY)
    learning = set_trained(model, PARTS)
    optimiser = optim.optimisers(model, stage_config("tiny", "2"))
    grouped = [one for group in optimiser.param_groups for one in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, learning))
    for group in optimiser.param_groups:
        assert all((one.ndim > 1) == (group["weight_decay"] > 0) for one in group["params"])


def test_muon_moves_the_inner_matrices_alone() -> None:
    """Of what learns it takes each map from a space to another once, at its own rate; the schedule is the stage's."""
    model = build(TINY)
    learning = set_trained(model, PARTS)
    stage = stage_config("tiny", "2", {"muon": 3e-3, "rate": 1e-3, "layer_decay": 1.0})
    found = optim.optimisers(model, stage)
    grouped = [one for group in found.param_groups for one in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, learning))
    muon = {id(one) for group in found.members[1].param_groups for one in group["params"]}
    names = {name for name, one in model.named_parameters() if id(one) in muon}
    assert {"adapter.proj.weight", "adapter.attn.in_proj.weight", "vision.blocks.0.c_fc.weight"} <= names
    assert "language.model.layers.0.self_attn.q_proj.weight" in names
    outer = {
        "vision.positions",
        "adapter.query",
        "language.model.embed_tokens.weight",
        "language.lm_head.weight",
    }
    assert not names & outer
    found.set_rate(5e-4)
    assert {group["lr"] for group in found.members[0].param_groups} == {5e-4}
    assert [group["lr"] for group in found.members[1].param_groups] == [pytest.approx(1.5e-3)] * len(
        found.members[1].param_groups
    )
    assert len(optim.optimisers(model, stage_config("tiny", "2", {"muon": 0.0})).members) == 1


def test_clipping() -> None:
    """The norms are those of PyTorch, and gradients end no longer than the limit."""
    model = build(TINY, 1)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    norms = optim.clip_gradients(model, 0.5)
    after = torch.nn.utils.get_total_norm([one.grad for one in model.parameters() if one.grad is not None])
    assert float(after) == pytest.approx(0.5, rel=1e-4)
    parts = sum(norms[part] ** 2 for part in PARTS)
    assert norms["total"] ** 2 == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": "1e-3"}, "rate must be a number"),
        ({"muon": None}, "muon must be a number"),
        ({"style": None}, "style must hold"),
        ({"style": 10}, "style must hold"),
        ({"style": {1: 2}}, "style has no 1"),
        ({"style": {"form": "foo"}}, "form must be"),
        ({"style": {"caption": 3}}, "caption must be words"),
        ({"style": {"caption": "Say in {lang}:"}}, "may name {language}"),
        ({"style": {"caption": "In {language.code}:"}}, "may name {language}"),
        ({"style": {"coarse": True}}, "coarse must be"),
    ],
)
def test_mistakes_in_a_stage_are_sentences(given: dict[str, object], said: str) -> None:
    """A preset is written by hand: what is of another kind is named, and nothing breaks later."""
    with pytest.raises(RecipeError, match=re.escape(said)):
        stage_config("tiny", "2", given)
