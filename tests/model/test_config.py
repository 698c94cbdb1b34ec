"""What presets are."""

from pathlib import Path

import pytest
import torch

from model.config import PRESETS, ModelConfig, preset, read_config
from model.qwen_vl import PARTS, QwenVL
from model.stages import STAGES, stage_config
from schemas.errors import RecipeError
from tests.model.corpora import TINY


def test_published_size() -> None:
    """qwen-vl-7b has 1.84 B parameters in vision, 0.08 to 0.09 B in the adapter, 7.72 B in language."""
    # on the meta device nothing is allocated
    with torch.device("meta"):
        model = QwenVL(preset("qwen-vl-7b"))
    counts = {name: sum(one.numel() for one in getattr(model, name).parameters()) for name in PARTS}
    assert round(counts["vision"] / 1e9, 2) == 1.84
    assert 0.08e9 <= counts["adapter"] <= 0.093e9
    assert round(counts["language"] / 1e9, 2) == 7.72


@pytest.mark.parametrize("name", PRESETS)
def test_queries_at_both_sides(name: str) -> None:
    """Each preset's adapter gives its own fixed number of tokens at each of its sides."""
    config = preset(name)
    assert len(config.sides) == 2
    with torch.device("meta"):
        model = QwenVL(config)
        for side in config.sides:
            seen = model.see(torch.zeros(1, 3, side, side, dtype=torch.uint8))
            assert seen.shape == (1, config.adapter.queries, config.language.hidden)
    if name == "qwen-vl-7b":
        assert (config.sides, config.adapter.queries, config.language.hidden) == ((224, 448), 256, 4096)


@pytest.mark.parametrize("name", PRESETS)
def test_every_stage(name: str) -> None:
    """Each preset has every stage, at a side and a length that its model takes."""
    config = preset(name)
    for stage in (stage_config(name, one) for one in ("language", *STAGES)):
        assert stage.side in config.sides
        assert stage.length <= config.language.context
        assert stage.batch % stage.micro == 0


def test_paper_hyper_parameters() -> None:
    """qwen-vl-7b trains with the paper's table."""
    first, second, third = (stage_config("qwen-vl-7b", name) for name in STAGES)
    assert (first.batch, first.steps, first.warmup, first.rate, first.floor) == (
        30720,
        50000,
        500,
        2e-4,
        1e-6,
    )
    assert (second.batch, second.steps, second.warmup, second.rate, second.floor) == (
        4096,
        19000,
        400,
        5e-5,
        1e-5,
    )
    assert (third.batch, third.steps, third.warmup, third.rate, third.floor) == (128, 8000, 3000, 1e-5, 1e-6)
    assert (first.length, second.length, third.length) == (512, 2048, 2048)
    assert {(one.betas, one.eps, one.weight_decay, one.clip) for one in (first, second, third)} == {
        ((0.9, 0.98), 1e-6, 0.05, 1.0)
    }


def test_saved_config(tmp_path: Path) -> None:
    """A config comes back from its JSON as it was."""
    (tmp_path / "config.json").write_text(TINY.to_json())
    assert read_config(tmp_path) == TINY


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adapter": {"queries": 5, "heads": 2}}, "square"),
        ({"adapter": {"queries": 4}}, "missing"),
        ({"sides": [15]}, "patch"),
        ({"colour": 1}, "unknown"),
        ({"vision": {"width": 0, "layers": 1, "heads": 1, "mlp": 1, "patch": 8, "grid": 2}}, "above 0"),
    ],
)
def test_wrong_config(change: dict[str, object], words: str) -> None:
    """A wrong config is refused with a sentence that names what is wrong."""
    import json

    with pytest.raises(RecipeError, match=words):
        ModelConfig.from_mapping({**json.loads(TINY.to_json()), **change})


def test_unknown_preset() -> None:
    """A preset that is not there is refused with those that are."""
    with pytest.raises(RecipeError, match="choose tiny"):
        preset("huge")
    with pytest.raises(RecipeError, match="unknown colour"):
        stage_config("tiny", "1", {"colour": 1})
