"""Engines behind one method say what they read, or in a sentence why they cannot."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from schemas.errors import InputError
from synth.readers import READERS, Found, PaddleReader, open_reader


class Engine:
    """Stands for PaddleOCR: keeps what it is made with, and gives one line in BGR's blue."""

    made: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        Engine.made = options

    def predict(self, pixels: Any) -> list[dict[str, Any]]:
        assert pixels[0, 0].tolist() == [255, 0, 0]
        return [
            {
                "rec_texts": ["word"],
                "rec_polys": [np.array([[1, 2], [9, 2], [9, 5], [1, 5]], np.int16)],
                "rec_scores": [0.75],
            }
        ]


def _module(monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    module = ModuleType("paddleocr")
    module.PaddleOCR = engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "paddleocr", module)


def _models(folder: Path) -> Path:
    for name in ("det", "rec"):
        (folder / name).mkdir(parents=True)
        told = {"Global": {"model_name": f"tiny_{name}"}, "PostProcess": {"character_dict": ["w", "o", 1]}}
        (folder / name / "inference.yml").write_text(yaml.safe_dump(told))
    return folder


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("rapidocr", "run `make install` in the checkout, or pip install rapidocr onnxruntime"),
        ("paddleocr", "needs paddleocr, paddlepaddle: pip install paddleocr paddlepaddle"),
    ],
)
def test_a_missing_package_has_a_remedy(monkeypatch: pytest.MonkeyPatch, name: str, remedy: str) -> None:
    """Without its package a reader says what to install; `make install` only where that installs it."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=remedy):
        open_reader(name)


def test_an_unknown_reader_is_told_the_known_ones() -> None:
    """The names are those of READERS."""
    with pytest.raises(InputError, match=", ".join(READERS)):
        open_reader("tesseract")


def test_missing_models_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where PaddleOCR can download nothing, and where a folder holds no exported model, the remedy is told."""

    def offline(**options: Any) -> None:
        raise Exception("No available model hosting platforms detected.")

    _module(monkeypatch, offline)
    with pytest.raises(InputError, match=r"cannot load its models .*name a folder with det/ and rec/"):
        PaddleReader()
    with pytest.raises(InputError, match="det holds no exported model"):
        PaddleReader(tmp_path)
    (tmp_path / "det").mkdir()
    (tmp_path / "det" / "inference.yml").write_text("[not, a, map]")
    with pytest.raises(InputError, match="det holds no exported model"):
        PaddleReader(tmp_path)


def test_paddleocr_reads_behind_the_same_method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It gets BGR and gives lines with quads; given models are named as they name themselves."""
    _module(monkeypatch, Engine)
    reader = open_reader("paddleocr", _models(tmp_path))
    blue = np.zeros((8, 12, 3), np.uint8)
    blue[..., 2] = 255
    assert reader.read(blue) == [Found("word", ((1.0, 2.0), (9.0, 2.0), (9.0, 5.0), (1.0, 5.0)), 0.75)]
    assert Engine.made["text_detection_model_name"] == "tiny_det"
    assert Engine.made["text_recognition_model_dir"] == str(tmp_path / "rec")
    assert reader.alphabet == {"w", "o", "1", " "}
