"""What a user is told when a CLIP cannot be loaded: one sentence, at once."""

import logging
import pickle
import sys
import time
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from filters.clip.load import load
from filters.clip.source import open_clip_module
from schemas.clip import ScorerSettings
from schemas.errors import ModelError
from tests.filters.clips import write_model


def refused(**settings: str) -> str:
    """The sentence with which these settings are refused."""
    with pytest.raises(ModelError) as caught:
        load(ScorerSettings.model_validate(settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("clip") / "tiny")


def test_an_unknown_architecture_names_near_ones() -> None:
    """A misspelt architecture is answered with those that look like it."""
    assert "ViT-B-32" in refused(model="VitB32", pretrained="openai")


def test_an_unknown_tag_names_near_ones() -> None:
    """A misspelt tag is answered with the tags of that architecture."""
    assert "laion2b_s34b_b79k" in refused(model="ViT-B-32", pretrained="laion2b_s34b_b79")


def test_missing_weights_are_named() -> None:
    """A path where nothing lies is named, and what else could stand there."""
    assert "no weights at nowhere/model.pt" in refused(model="ViT-B-32", pretrained="nowhere/model.pt")


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    """A folder without a configuration, or without weights, says which of them it lacks."""
    assert "open_clip_config.json" in refused(model=f"local-dir:{tmp_path}")
    write_model(tmp_path)
    (tmp_path / "open_clip_model.safetensors").unlink()
    assert "holds no weights" in refused(model=f"local-dir:{tmp_path}")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_truncated_weights_are_said_to_be(tiny: Path, tmp_path: Path, suffix: str, part: float) -> None:
    """A checkpoint that breaks off anywhere cannot be read, and the sentence says so."""
    whole = tiny / "open_clip_model.safetensors"
    if suffix == "pt":
        whole = tmp_path / "whole.pt"
        torch.save(
            open_clip_module().create_model("RN50", load_weights=False).visual.attnpool.state_dict(), whole
        )
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    assert "cannot be read" in refused(model="ViT-S-32", pretrained=str(cut))


def test_weights_of_another_architecture_are_said_to_be(tiny: Path, tmp_path: Path) -> None:
    """Sound weights for another model are told apart from damaged ones."""
    path = str(tiny / "open_clip_model.safetensors")
    assert "another architecture" in refused(model="ViT-S-32", pretrained=path)
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert "another architecture" in refused(model="ViT-S-32", pretrained=str(tmp_path / "other.safetensors"))


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch.__get__(self.path), ()  # type: ignore[return-value]


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    """A checkpoint that holds code is refused; the code does not run."""
    trap = tmp_path / "ran"
    torch.save({"state_dict": _Bomb(trap)}, tmp_path / "bomb.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Bomb(trap)))
    for name in ("bomb.pt", "plain.pt"):
        assert "never run" in refused(model="ViT-S-32", pretrained=str(tmp_path / name))
    assert not trap.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
        {"model": "ViT-B-32", "pretrained": "openai"},
        {"model": "hf-hub:nobody/no-such-clip"},
        {"model": "RN50", "pretrained": "yfcc15m"},
    ],
)
def test_without_a_network_it_fails_at_once(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Weights that would have to be fetched are refused within seconds where no host answers."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    start = time.monotonic()
    assert "cannot be fetched" in refused(**settings)
    assert time.monotonic() - start < 60


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without open_clip the sentence is the command that brings it, for every way to name a model."""
    monkeypatch.setitem(sys.modules, "open_clip", None)
    for model in ({"model": "ViT-B-32", "pretrained": "openai"}, {"model": "hf-hub:a/b"}):
        assert "run `make install`" in refused(**model)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": "ViT-B-32"}, "needs pretrained"),
        ({"model": "hf-hub:a/b", "pretrained": "openai"}, "brings its own weights"),
        ({"model": "ViT-B-32", "pretrained": "openai", "batch_size": 0}, "greater than or equal to 1"),
        ({"modle": "ViT-B-32"}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, object], says: str) -> None:
    """A scorer that cannot be meant is refused before anything is loaded."""
    with pytest.raises(ValidationError, match=says):
        ScorerSettings.model_validate(settings)


def test_loading_leaves_the_root_logger_as_it_was(tiny: Path) -> None:
    """open_clip logs through the root logger; a library must not install a handler by that."""
    before = list(logging.getLogger().handlers)
    load(ScorerSettings(model=f"local-dir:{tiny}"))
    assert logging.getLogger().handlers == before
