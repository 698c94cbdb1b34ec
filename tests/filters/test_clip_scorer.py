"""The CLIP scorer: equal numbers however rows are dealt out, and no silent failure."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.clip import Scorer
from schemas.clip import ScorerSettings, choose
from schemas.errors import ModelError
from tests.filters.clips import TINY, write_model


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = write_model(tmp_path_factory.mktemp("clip") / "tiny")
    return Scorer(ScorerSettings(model=f"local-dir:{folder}", batch_size=16), "cpu")


def pictures(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 32, 32, 3), np.uint8)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 60), st.integers(1, 60))
def test_a_rows_vector_does_not_depend_on_its_neighbours(scorer: Scorer, number: int, at: int) -> None:
    """Encoded in one call, or in two cut anywhere, every row has the same bits."""
    rows = pictures(number)
    at = min(at, number)
    parts = [scorer.encode_images(rows[:at]), scorer.encode_images(rows[at:])]
    assert np.array_equal(scorer.encode_images(rows), np.concatenate(parts))


def test_vectors_are_units(scorer: Scorer) -> None:
    """Vectors of pictures and of captions have length 1 and type float32."""
    tokens, _ = scorer.tokenize(["a cat", "two dogs", "一只猫"])
    for vectors in (scorer.encode_images(pictures(3)), scorer.encode_texts(tokens)):
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_nothing_in_gives_nothing_out(scorer: Scorer) -> None:
    """Empty calls give empty arrays of the right shapes."""
    assert scorer.encode_images([]).shape == (0, 32)
    tokens, cut = scorer.tokenize([])
    assert tokens.shape == (0, 16)
    assert cut.shape == (0,)
    assert scorer.encode_texts(tokens).shape == (0, 32)
    assert scorer.score(np.zeros((0, 32), np.float32), np.zeros((0, 32), np.float32)).shape == (0,)


def test_equal_pictures_and_captions_are_encoded_once(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that share a digest, or a caption, share one pass through the model and one vector."""
    batches: list[int] = []
    launch = Scorer._launch

    def counted(self: Scorer, forward: Any, part: np.ndarray) -> Any:
        batches.append(len(part))
        return launch(self, forward, part)

    monkeypatch.setattr(Scorer, "_launch", counted)
    rows = pictures(5)[[0, 1, 0, 2, 1, 0]]
    vectors = scorer.encode_images(rows, ["a", "b", "a", "c", "b", "a"])
    assert batches == [3]
    assert np.array_equal(vectors, scorer.encode_images(rows))
    batches.clear()
    tokens, _ = scorer.tokenize(["a cat", "a dog"] * 30)
    assert scorer.encode_texts(tokens).shape == (60, 32)
    assert batches == [2]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40))
def test_captions_that_were_cut_are_flagged(scorer: Scorer, words: int) -> None:
    """A caption is flagged exactly when start, end and its words do not fit into the context."""
    _, cut = scorer.tokenize([" ".join(["cat"] * words)])
    assert cut.tolist() == [words + 2 > 16]


def test_scores_are_rounded_cosines(scorer: Scorer) -> None:
    """A score is the cosine to five decimals."""
    a, b = scorer.encode_images(pictures(9)), scorer.encode_images(pictures(9, seed=1))
    expected = np.round(
        [float(np.dot(x.astype(np.float64), y.astype(np.float64))) for x, y in zip(a, b, strict=True)], 5
    )
    assert np.array_equal(scorer.score(a, b), expected.astype(np.float32))


def test_a_score_that_is_no_number_stops(scorer: Scorer) -> None:
    """NaN is never a low score: the job stops and the sentence names the rows."""
    vectors = scorer.encode_images(pictures(3))
    broken = vectors.copy()
    broken[1] = np.nan
    with pytest.raises(ModelError, match="not numbers for shard 00000 member 7"):
        scorer.score(broken, vectors, ["a", "shard 00000 member 7", "c"])
    with pytest.raises(ModelError, match="row 1"):
        scorer.score(broken, vectors)


def test_out_of_memory_halves_the_batch_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A device without room for a batch gets smaller ones; the vectors stay what they were, to rounding."""
    scorer = Scorer(ScorerSettings(model=f"local-dir:{write_model(tmp_path)}", batch_size=16), "cpu")
    rows = pictures(21)
    wanted = scorer.encode_images(rows)
    forward = scorer._image

    def small(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    monkeypatch.setattr(scorer, "_image", small)
    with caplog.at_level(logging.WARNING, "vlcorpus.clip"):
        vectors = scorer.encode_images(rows)
    assert scorer.batch_size == 4
    assert "going on with 4" in caplog.text
    assert np.allclose(vectors, wanted, atol=1e-5)


def test_batches_come_back_in_their_order(scorer: Scorer) -> None:
    """A stream gives a batch's vectors once the next is begun, of batches of any size, bit for bit as one call."""
    rows = pictures(70)
    begun: list[int] = []

    def batches() -> Iterator[np.ndarray]:
        for at, end in ((0, 16), (16, 17), (17, 57), (57, 70)):
            begun.append(end)
            yield rows[at:end]

    stream = scorer.encode_batches(batches())
    first = next(stream)
    assert begun == [16, 17]
    # whoever takes the vectors may use torch as he likes in between
    assert not torch.is_inference_mode_enabled()
    assert np.array_equal(np.concatenate([first, *stream]), scorer.encode_images(rows))
    assert list(scorer.encode_batches(iter(()))) == []


def test_memory_that_runs_out_in_a_stream_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the third batch does not fit, it and those after it are encoded in halves, and none is lost or twice."""
    scorer = Scorer(ScorerSettings(model=f"local-dir:{write_model(tmp_path)}", batch_size=32), "cpu")
    rows = pictures(150)
    wanted = scorer.encode_images(rows)
    forward, calls = scorer._image, [0]

    def small(batch: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] > 2 and len(batch) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    monkeypatch.setattr(scorer, "_image", small)
    parts = list(scorer.encode_batches(rows[at : at + 32] for at in range(0, 150, 32)))
    assert [len(part) for part in parts] == [32, 32, 32, 32, 22]
    assert scorer.batch_size == 16
    assert np.allclose(np.concatenate(parts), wanted, atol=1e-5)


def test_a_model_that_does_not_fit_at_all_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory with a batch of one is a stop."""
    scorer = Scorer(ScorerSettings(model=f"local-dir:{write_model(tmp_path)}", batch_size=4), "cpu")

    def never(batch: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scorer, "_image", never)
    with pytest.raises(ModelError, match="does not fit into the memory of cpu"):
        scorer.encode_images(pictures(1))


def test_the_id_is_of_the_weights_alone(tmp_path: Path) -> None:
    """Equal weights have equal ids wherever they lie; other weights, or another transform, have another."""
    names = [write_model(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    ids = [Scorer(ScorerSettings(model=f"local-dir:{name}"), "cpu").id for name in names]
    assert ids[0] == ids[1] != ids[2]
    assert str(tmp_path) not in "".join(ids)
    assert Scorer(ScorerSettings(model=f"local-dir:{names[0]}", draft=True), "cpu").id != ids[0]
    config = (names[1] / "open_clip_config.json").read_text()
    (names[1] / "open_clip_config.json").write_text(
        config.replace('"preprocess_cfg": {}', '"preprocess_cfg": {"resize_mode": "squash"}')
    )
    assert Scorer(ScorerSettings(model=f"local-dir:{names[1]}"), "cpu").id != ids[0]


def test_bf16_is_close_to_fp32(tmp_path: Path) -> None:
    """Half precision moves cosines by less than a hundredth; it needs no GPU to be tried."""
    name = f"local-dir:{write_model(tmp_path, TINY)}"
    rows = pictures(8)
    full = Scorer(ScorerSettings(model=name), "cpu").encode_images(rows)
    half = Scorer(ScorerSettings(model=name, precision="bf16"), "cpu")
    assert half.build["precision"] == "bf16"
    cosines = (full * half.encode_images(rows)).sum(1)
    assert cosines.min() > 0.99


def test_devices_that_are_not_there_are_one_sentence(tmp_path: Path) -> None:
    """A device that torch does not know, or does not have, is told before anything is scored."""
    settings = ScorerSettings(model=f"local-dir:{write_model(tmp_path)}")
    with pytest.raises(ModelError, match="torch knows no device 'abacus'"):
        Scorer(settings, "abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="no GPU"):
            Scorer(settings, "cuda")


def test_a_language_finds_its_scorer() -> None:
    """The language's own scorer, else the default, else none."""
    assert choose({"en": 1, "zh": 2, "default": 3}, "zh") == 2
    assert choose({"en": 1, "default": 3}, "und") == 3
    assert choose({"en": 1, "default": 3}, None) == 3
    assert choose({"en": 1}, "zh") is None


def test_filters_clip_imports_without_torch() -> None:
    """Importing the package pulls in neither torch nor open_clip."""
    code = (
        "import sys, filters.clip; sys.exit(bool({'torch', 'open_clip', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
