"""Open-vocabulary detectors: real loading of tiny models, against transformers' own post-processing."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filters.detect import ColourDetector, Found, limited, tidied
from schemas.errors import ModelError
from schemas.ground import DetectorSettings
from tests import needs

torch = needs.package("torch")
needs.package("transformers")

from filters.detect_load import Limited, ZeroShot, joined, load_detector  # noqa: E402
from tests.filters.detectors import save  # noqa: E402

PHRASES = ["a red dog", "the cat", "a man's ball"]
KINDS = ("owlvit", "owlv2", "grounding-dino")


def settings(model: object, **more: Any) -> DetectorSettings:
    """Settings that write down whatever is found."""
    return DetectorSettings(model=str(model), **{"floor": 0, "threshold": 0, "per_phrase": 100, **more})


def picture(width: int = 80, height: int = 48, seed: int = 0) -> np.ndarray:
    """Noise."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny detector of each kind."""
    return {kind: save(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(80, 48), (48, 80), (64, 64)])
def test_boxes_and_scores_are_those_of_transformers(
    folders: dict[str, Path], kind: str, size: tuple[int, int]
) -> None:
    """Boxes in pixels and scores equal the processor's own post-processing, padding included."""
    detector = ZeroShot(settings(folders[kind]), "cpu")
    shown = picture(*size)
    given: Any = [PHRASES] if kind != "grounding-dino" else joined(PHRASES)[0]
    inputs = detector._processor(
        text=given,
        images=[detector_image(shown)],
        return_tensors="pt",
        **(
            {"padding": "max_length", "max_length": 16, "truncation": True}
            if kind != "grounding-dino"
            else {}
        ),
    )
    with torch.inference_mode():
        outputs = detector._model(**inputs)
    (theirs,) = detector._processor.post_process_grounded_object_detection(
        outputs, threshold=0.0, target_sizes=[(size[1], size[0])]
    )
    ours = detector.detect(shown, PHRASES)
    scores = theirs["scores"]
    if kind == "grounding-dino":
        # the score of a box is that of the word it fits best; marks between phrases are no words
        words = ~torch.isin(
            inputs["input_ids"][0], torch.tensor(detector._processor.tokenizer(".")["input_ids"])
        )
        scores = outputs.logits[0].sigmoid()[:, : len(words)][:, words].max(dim=1).values
    assert len(theirs["boxes"]) == len(scores)
    expected = tidied(theirs["boxes"].numpy(), scores.numpy(), np.zeros(len(scores), np.int64), size)
    key = lambda one: (one.box, one.score)  # noqa: E731
    assert len(ours) == len(expected) > 3
    for a, b in zip(sorted(ours, key=key), sorted(expected, key=key), strict=True):
        assert a.box == pytest.approx(b.box, abs=0.02)
        assert a.score == pytest.approx(b.score, abs=1e-4)


def detector_image(shown: np.ndarray) -> Any:
    """The array as Pillow has it."""
    from PIL import Image

    return Image.fromarray(shown)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pictures_boxes_do_not_depend_on_what_went_before(folders: dict[str, Path], kind: str) -> None:
    """The same picture and phrases give the same numbers again, after others, and in a new process's model."""
    one, two = (ZeroShot(settings(folders[kind]), "cpu") for _ in range(2))
    first = one.detect(picture(), PHRASES)
    one.detect(picture(60, 90, 1), PHRASES[:1])
    assert one.detect(picture(), PHRASES) == first == two.detect(picture(), PHRASES)
    assert one.id == two.id
    assert one.id.startswith("local@")


@pytest.mark.parametrize("kind", KINDS)
def test_odd_phrases_are_read(folders: dict[str, Path], kind: str) -> None:
    """Long, Chinese, dotted and empty-looking phrases neither fail nor shift the numbers of others."""
    detector = ZeroShot(settings(folders[kind]), "cpu")
    found = detector.detect(picture(), ["a dog " * 60, "一只狗", "Mr. Cat?", "the cat"])
    assert {one.phrase for one in found} <= {0, 1, 2, 3}
    assert all(0 <= one.score <= 1 for one in found)


def test_phrases_are_joined_as_grounding_dino_reads_them() -> None:
    """A full stop after each phrase, none within one; places are those of the phrases."""
    text, places = joined(["A dog", "St. Paul's?", "x"])
    assert text == "a dog. st paul's. x."
    assert [text[start:end] for start, end in places] == ["a dog", "st paul's", "x"]


def test_no_phrase_asks_the_model_nothing() -> None:
    """Without phrases nothing is run."""

    class Never:
        id = "never"

        def detect(self, picture: Any, phrases: Any) -> list[Found]:
            raise AssertionError("was asked")

    assert Limited(Never(), settings("colours")).detect(picture(), []) == []


def test_only_the_best_boxes_above_the_floor_are_written_down() -> None:
    """Of each phrase the best per_phrase boxes that reach the floor."""
    found = [Found(0, (0, 0, 9, 9), 0.9), Found(0, (0, 0, 8, 8), 0.5), Found(0, (0, 0, 7, 7), 0.1)]
    found.append(Found(1, (0, 0, 9, 9), 0.04))
    assert limited(found, 0.05, 1) == found[:1]
    assert limited(found, 0.05, 9) == found[:3]
    assert limited(found, 0.0, 9) == found


def test_boxes_are_clipped_and_slivers_dropped() -> None:
    """What leaves the picture is cut; what has no pixel within, or is no number, is no box."""
    boxes = np.array([[-5, -5, 10, 10], [30, 5, 60, 20], [40, 0, 50, 9], [1, 1, 1.4, 9], [np.nan, 0, 5, 5]])
    found = tidied(boxes, np.array([0.5] * 5), np.arange(5), (40, 30))
    assert [one.box for one in found] == [(0, 0, 10, 10), (30, 5, 40, 20)]


def test_colours_are_found_where_they_are() -> None:
    """Two red squares on white are two boxes, and the blue one is another phrase's."""
    shown = np.full((60, 100, 3), 255, np.uint8)
    shown[10:20, 10:30] = (220, 20, 20)
    shown[30:50, 40:60] = (220, 20, 20)
    shown[5:25, 70:90] = (20, 20, 220)
    found = ColourDetector().detect(shown, ["the red squares", "a blue square", "a square"])
    assert [(one.phrase, one.box) for one in found] == [
        (0, (10, 10, 30, 20)),
        (0, (40, 30, 60, 50)),
        (1, (70, 5, 90, 25)),
    ]
    assert {one.score for one in found} == {1.0}


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection can be made."""

    def refuse(*given: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("filters.weights.getproxies", dict)


def sentence(model: object, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a detector that cannot be loaded: one sentence."""
    offline(monkeypatch)
    with pytest.raises(ModelError) as caught:
        load_detector(settings(model), "cpu")
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without transformers the sentence says how to install what detectors need."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    remedy = "run `make install` in the checkout, or pip install torch torchvision transformers"
    assert f"grounding needs torch, torchvision, transformers: {remedy}" in sentence("a/b", monkeypatch)


def test_what_cannot_be_loaded_is_one_sentence(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing folder, an unreachable hub, an empty folder, another model and damaged weights are told apart."""
    assert "no detector at /nowhere/owl" in sentence("/nowhere/owl", monkeypatch)
    assert "does not answer" in sentence("google/owlv2-never-there", monkeypatch)
    (tmp_path / "empty").mkdir()
    assert "cannot be loaded" in sentence(tmp_path / "empty", monkeypatch)
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "model of type bert: detectors are owlvit, owlv2" in sentence(other, monkeypatch)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in folders["owlv2"].iterdir():
        data = file.read_bytes()
        (damaged / file.name).write_bytes(data[: len(data) // 2] if file.suffix == ".safetensors" else data)
    assert "cannot be loaded" in sentence(damaged, monkeypatch)


def test_weights_of_another_architecture_are_refused(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose weights lack tensors is never run with random ones."""
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for file in folders["owlv2"].iterdir():
        origin = folders["grounding-dino"] / file.name if file.suffix == ".safetensors" else file
        (mixed / file.name).write_bytes(origin.read_bytes())
    assert "of another architecture" in sentence(mixed, monkeypatch)


def test_pickled_weights_are_never_read(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with pytorch_model.bin alone is refused."""
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for file in folders["owlv2"].iterdir():
        if file.suffix != ".safetensors":
            (pickled / file.name).write_bytes(file.read_bytes())
    torch.save({}, pickled / "pytorch_model.bin")
    assert "cannot be loaded" in sentence(pickled, monkeypatch)
