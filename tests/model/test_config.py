"""What presets are."""

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.checkpoint import from_pretrained
from model.config import (
    LIMITS,
    PRESETS,
    AdapterConfig,
    LanguageConfig,
    ModelConfig,
    VisionConfig,
    preset,
    read_config,
)
from model.qwen_vl import PARTS, QwenVL
from model.stages import LIMITS as STAGE_LIMITS
from model.stages import STAGES, StageConfig, stage_config
from schemas.errors import InputError, RecipeError
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
        (
            {"vision": {"width": 0, "layers": 1, "heads": 1, "mlp": 1, "patch": 8, "grid": 2}},
            "width must be a whole number from 1",
        ),
    ],
)
def test_wrong_config(change: dict[str, object], words: str) -> None:
    """A wrong config is refused with a sentence that names what is wrong."""
    with pytest.raises(RecipeError, match=words):
        ModelConfig.from_mapping({**json.loads(TINY.to_json()), **change})


def test_unknown_preset() -> None:
    """A preset that is not there is refused with those that are."""
    with pytest.raises(RecipeError, match="choose tiny"):
        preset("huge")
    with pytest.raises(RecipeError, match="unknown colour"):
        stage_config("tiny", "1", {"colour": 1})


def numbers(kind: type) -> set[str]:
    return {one.name for one in fields(kind) if one.type in (int, float)}


def test_every_number_has_both_bounds() -> None:
    """No number of a model's part or of a stage is without a least and a largest value."""
    for what, kind in (("vision", VisionConfig), ("adapter", AdapterConfig), ("language", LanguageConfig)):
        assert numbers(kind) == set(LIMITS[what])
    assert numbers(StageConfig) == set(STAGE_LIMITS)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "8", None, 10**9, 10**4_000, math.inf, math.nan, [8]])
def test_a_size_out_of_bounds_is_refused(value: object) -> None:
    """A size that is no whole number within its bounds is refused with its name, whatever it is."""
    record = json.loads(TINY.to_json())
    record["vision"]["width"] = value
    with pytest.raises(RecipeError, match=r"vision\.width must be a whole number from 1 to") as caught:
        ModelConfig.from_mapping(record)
    assert len(str(caught.value)) < 200
    with pytest.raises(RecipeError, match="side"):
        ModelConfig.from_mapping({**json.loads(TINY.to_json()), "sides": [value]})
    with pytest.raises(RecipeError, match="steps must be a whole number"):
        stage_config("tiny", "1", {"steps": value if value != 10**9 else 10**10})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "model: 5",
        "{",
        "[" * 100_000,
        "model: {sides: 2024-99-99}",
        "a: " + "9" * 5_000,
        "#" * (1 << 21),
    ],
)
def test_a_preset_that_is_none_is_one_sentence(text: str, tmp_path: Path) -> None:
    """A preset of one's own that is no YAML, too deep, too long or of other form is refused with its name."""
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"preset .*own\.yaml"):
        preset(str(path))


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"a": ' * 100_000, '{"a": ' + "9" * 5_000 + "}"])
def test_a_saved_config_that_is_none_is_one_sentence(text: str, tmp_path: Path) -> None:
    """A config.json that is no object, too deep or holds a number without end is damaged."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RecipeError, match="is damaged"):
        read_config(tmp_path)


def test_sizes_are_held_against_the_weights_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config that asks for far more than its weights hold is refused by their header: no model is built."""
    small = {"a": torch.zeros(2)}
    save_file(small, tmp_path / "model.safetensors")
    record = json.loads(TINY.to_json())
    record["language"] |= {"hidden": 1 << 16, "layers": 64, "heads": 512, "mlp": 1 << 18}
    (tmp_path / "config.json").write_text(json.dumps(record))
    monkeypatch.setattr("model.checkpoint.build", lambda config: pytest.fail("a model was built"))
    with pytest.raises(RecipeError, match="holds a model of another preset"):
        from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match="is damaged"):
        from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="is missing"):
        from_pretrained(tmp_path)
