"""The mixture that a corpus's manifest gives to whoever trains on it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model import manifest, shards
from model.settings import TrainConfig, mixture_of, stage_settings
from model.store import Store
from schemas.errors import InputError, RecipeError
from schemas.mixture import read, to_json
from tests.model.corpora import corpus, preset_file

COUNTS = {"caption": 4, "vqa": 6, "text": 3, "chat": 2}


def config(folder: Path, mixture: dict[str, Any] | None) -> TrainConfig:
    """A run on a small corpus whose manifest has that mixture; without a manifest where there is none."""
    if not (folder / "shards").is_dir():
        corpus(folder, COUNTS)
    if mixture is not None:
        (folder / "manifest.json").write_text(json.dumps({"mixture": to_json(read(mixture))}))
    return TrainConfig(str(folder), folder / "out", ("2",), preset_file(folder))


def taken(made: TrainConfig, stage: str = "2") -> dict[str, Any]:
    """The mixture of a stage of the run, as JSON."""
    settings = stage_settings(made, stage)
    return to_json(mixture_of(made, settings, shards.find(Store(made.corpus), "train", settings.tasks)))


def test_the_corpus_s_own_is_the_default(tmp_path: Path) -> None:
    """What a run asks for stands above the corpus's mixture, and that above the preset's."""
    mixture = {"caption/s": {"weight": 2.0, "max_samples": 3}, "chat/*": {"weight": 1.0}}
    made = config(tmp_path, mixture)
    assert taken(made) == {"caption/s": {"weight": 2.0, "max_samples": 3}}
    own = replace(made, overrides={"2": {"mixture": {"vqa/*": {"epochs": 2}}}})
    assert taken(own) == {"vqa/*": {"epochs": 2.0}}


def test_a_stage_of_which_the_corpus_s_mixture_names_nothing(tmp_path: Path) -> None:
    """It goes by the preset's mixture, as far as the corpus holds what that names; else by every view once."""
    made = config(tmp_path, {"chat/*": 1})
    assert taken(made) == {}
    assert taken(made, "3") == {"chat/*": {"weight": 1.0}}
    preset = made.preset.replace("test.yaml", "mixed.yaml")
    text = Path(made.preset).read_text()
    assert "'2':\n" in text
    Path(preset).write_text(text.replace("'2':\n", "'2':\n    mixture: {vqa/*: 3, ocr/*: 1}\n"))
    assert taken(replace(made, preset=preset)) == {"vqa/*": {"weight": 3.0}}


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    """Shards alone have no mixture."""
    assert taken(config(tmp_path, None)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"mixture": 3}',
        '{"mixture": {"caption": 1}}',
        '{"mixture": {"a/b": NaN}}',
        "[" * 9999,
    ],
)
def test_a_damaged_manifest(tmp_path: Path, text: str) -> None:
    """It is named in one sentence."""
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json is damaged or of another version"):
        manifest.mixture(Store(str(tmp_path)))


def test_a_manifest_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused unread."""
    monkeypatch.setattr(manifest, "_MOST", 10)
    (tmp_path / "manifest.json").write_text('{"mixture": {}}')
    with pytest.raises(InputError, match="above the limit of 10"):
        manifest.mixture(Store(str(tmp_path)))


def test_a_mixture_of_one_s_own_that_is_none(tmp_path: Path) -> None:
    """What a run asks for is checked like a recipe's mixture."""
    made = replace(config(tmp_path, None), overrides={"2": {"mixture": {"vqa": 2}}})
    with pytest.raises(RecipeError, match=r"stage 2: mixture: strata are named by TASK/SOURCE"):
        taken(made)
