"""Names that the command line offers at TAB, which it spells out because their own modules are slow to load."""

from typing import get_args

import pytest

from model.config import PRESETS
from pipelines.cli import options, synth
from pipelines.generators.text import OcrSettings


def choices(model: type[OcrSettings], name: str) -> set[str]:
    """The values that a key of a recipe admits."""
    return set(get_args(model.model_fields[name].annotation))


def test_offered_names_are_admitted() -> None:
    """Each list is the one that the recipe, or the trainer, goes by."""
    assert set(synth.DIRECTIONS) == choices(OcrSettings, "direction")
    assert set(synth.LEVELS) == choices(OcrSettings, "level")
    assert options.PRESETS == PRESETS


def test_offered_stages_are_trained() -> None:
    """The stages are those of the trainer."""
    pytest.importorskip("torch", reason="the trainer needs torch")
    from model.stages import ORDER

    assert list(options.STAGES) == ["all", *ORDER]


def test_among() -> None:
    """A word is completed to the names that begin with it."""
    assert options.among("tiny", "small", "train")("t") == ["tiny", "train"]
    assert options.among("tiny")("x") == []
