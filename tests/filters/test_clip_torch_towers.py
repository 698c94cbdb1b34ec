"""CLIPs that torch runs: equal bits however rows are dealt out, devices, precisions, memory."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.clip import Scorer
from filters.clip.torch_towers import TorchTowers
from schemas.clip import ScorerSettings
from schemas.errors import ModelError
from tests.filters.clips import TINY, write_model


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = write_model(tmp_path_factory.mktemp("clip") / "tiny")
    return Scorer(ScorerSettings(model=f"local-dir:{folder}", batch_size=16), "cpu")


def images(number: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (number, 32, 32, 3), np.uint8)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 60), st.integers(1, 60))
def test_a_rows_vector_does_not_depend_on_its_neighbours(scorer: Scorer, number: int, at: int) -> None:
    """Encoded in one call, or in two cut anywhere, every row has the same bits."""
    rows = images(number)
    at = min(at, number)
    parts = [scorer.encode_images(rows[:at]), scorer.encode_images(rows[at:])]
    assert np.array_equal(scorer.encode_images(rows), np.concatenate(parts))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40))
def test_captions_that_were_cut_are_flagged(scorer: Scorer, words: int) -> None:
    """A caption is flagged exactly when start, end and its words do not fit into the context."""
    _, cut = scorer.tokenize([" ".join(["cat"] * words)])
    assert cut.tolist() == [words + 2 > 16]


def test_a_stream_leaves_torch_as_it_was(scorer: Scorer) -> None:
    """Between two batches whoever takes the vectors may use torch with gradients."""
    rows = images(40)
    stream = scorer.encode_batches(rows[at : at + 16] for at in range(0, 40, 16))
    first = next(stream)
    assert not torch.is_inference_mode_enabled()
    assert np.array_equal(np.concatenate([first, *stream]), scorer.encode_images(rows))


def test_out_of_memory_halves_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What torch says of a device without room becomes smaller batches, and vectors equal to rounding."""
    given = ScorerSettings(model=f"local-dir:{write_model(tmp_path)}", batch_size=16)
    towers = TorchTowers(given, "cpu")
    scorer = Scorer(given, towers=towers)
    rows = images(21)
    wanted = scorer.encode_images(rows)
    forward = towers._image

    def small(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    monkeypatch.setattr(towers, "_image", small)
    with caplog.at_level(logging.WARNING, "vlcorpus.clip"):
        vectors = scorer.encode_images(rows)
    assert scorer.batch_size == 4
    assert np.allclose(vectors, wanted, atol=1e-5)


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
    rows = images(8)
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
