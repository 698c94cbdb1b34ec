"""The CLIP scorer: equal numbers however rows are dealt out, and no silent failure."""

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.clip import Preprocess, Scorer
from filters.clip.scorer import Landing, NoMemory, Tokens, Vectors
from schemas.clip import ScorerSettings, choose
from schemas.errors import ModelError


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(ScorerSettings(batch_size=16), "cpu")


class Projections:
    """Towers that project their input at random; a device with room for `room` rows, from one batch on."""

    id = "projections"
    build = {"device": "cpu", "precision": "fp32"}  # noqa: RUF012
    preprocess = Preprocess(8, 8)

    def __init__(self, room: int = 1_000, roomy_batches: int = 0) -> None:
        self.room = room
        self.roomy_batches = roomy_batches
        self.batches: list[npt.NDArray[np.int64]] = []

    def tokenize(self, captions: Sequence[str]) -> tuple[Tokens, npt.NDArray[np.bool_]]:
        """One token a caption."""
        tokens = np.array([[len(caption)] for caption in captions], np.int64)
        return tokens, np.zeros(len(captions), np.bool_)

    def encode_images(self, pixels: npt.NDArray[np.uint8]) -> Landing:
        """Vectors of the pixels, if there is room."""
        return self._launch(pixels.reshape(len(pixels), -1))

    def encode_texts(self, tokens: Tokens) -> Landing:
        """Vectors of the tokens, if there is room."""
        return self._launch(tokens)

    def _launch(self, rows: npt.NDArray[np.uint8] | Tokens) -> Landing:
        if len(rows) > self.room and len(self.batches) >= self.roomy_batches:
            raise NoMemory
        self.batches.append(rows.astype(np.int64))
        projected = rows @ np.random.default_rng(0).normal(size=(rows.shape[1], 4))
        vectors: Vectors = (projected / np.linalg.norm(projected, axis=1, keepdims=True)).astype(np.float32)
        return lambda: vectors


def projecting(batch_size: int, towers: Projections | None = None) -> Scorer:
    """A scorer over such towers."""
    return Scorer(ScorerSettings(batch_size=batch_size), towers=towers or Projections())


def images(number: int, seed: int = 0, side: int = 96) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), np.uint8)


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 40), st.integers(1, 40))
def test_a_rows_vector_does_not_depend_on_its_neighbours(scorer: Scorer, number: int, at: int) -> None:
    """Encoded in one call, or in two cut anywhere, every image and every caption has the same bits."""
    at = min(at, number)
    rows = images(number)
    parts = [scorer.encode_images(rows[:at]), scorer.encode_images(rows[at:])]
    assert np.array_equal(scorer.encode_images(rows), np.concatenate(parts))
    tokens, _ = scorer.tokenize([f"{row} red circles above a blue square" for row in range(number)])
    parts = [scorer.encode_texts(tokens[:at]), scorer.encode_texts(tokens[at:])]
    assert np.array_equal(scorer.encode_texts(tokens), np.concatenate(parts))


def test_vectors_are_units(scorer: Scorer) -> None:
    """Vectors of images and of captions have length 1 and type float32."""
    tokens, _ = scorer.tokenize(["a cat", "two dogs", "一只猫"])
    for vectors in (scorer.encode_images(images(3)), scorer.encode_texts(tokens)):
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_threads_change_nothing(scorer: Scorer) -> None:
    """Two threads give the bits of one: `threads` is no part of what scores depend on."""
    two = Scorer(ScorerSettings(batch_size=16, threads=2), "cpu")
    tokens, _ = scorer.tokenize(["a red circle"] * 20)
    assert np.array_equal(scorer.encode_images(images(20)), two.encode_images(images(20)))
    assert np.array_equal(scorer.encode_texts(tokens), two.encode_texts(tokens))
    assert two.id == scorer.id
    assert two.build == scorer.build


def test_nothing_in_gives_nothing_out(scorer: Scorer) -> None:
    """Empty calls give empty arrays of the right shapes."""
    assert scorer.encode_images([]).shape == (0, 128)
    tokens, cut = scorer.tokenize([])
    assert tokens.shape == (0, 56)
    assert cut.shape == (0,)
    assert scorer.encode_texts(tokens).shape == (0, 128)
    assert scorer.score(np.zeros((0, 32), np.float32), np.zeros((0, 32), np.float32)).shape == (0,)


def test_equal_images_and_captions_are_encoded_once() -> None:
    """Rows that share a digest, or a caption, share one pass through the model and one vector."""
    towers = Projections()
    scorer = projecting(16, towers)
    rows = images(5, side=8)[[0, 1, 0, 2, 1, 0]]
    vectors = scorer.encode_images(rows, ["a", "b", "a", "c", "b", "a"])
    assert [len(np.unique(batch, axis=0)) for batch in towers.batches] == [3]
    assert np.array_equal(vectors, scorer.encode_images(rows))
    towers.batches.clear()
    tokens, _ = scorer.tokenize(["a cat", "a mouse"] * 30)
    assert scorer.encode_texts(tokens).shape == (60, 4)
    assert [len(np.unique(batch, axis=0)) for batch in towers.batches] == [2]


def test_every_batch_is_whole() -> None:
    """Whatever is asked for, towers are given batches of one size."""
    towers = Projections()
    projecting(16, towers).encode_images(images(35, side=8))
    assert [len(batch) for batch in towers.batches] == [16, 16, 16]


def test_scores_are_rounded_cosines() -> None:
    """A score is the cosine to five decimals."""
    scorer = projecting(16)
    a, b = scorer.encode_images(images(9, side=8)), scorer.encode_images(images(9, seed=1, side=8))
    expected = np.round(
        [float(np.dot(x.astype(np.float64), y.astype(np.float64))) for x, y in zip(a, b, strict=True)], 5
    )
    assert np.array_equal(scorer.score(a, b), expected.astype(np.float32))


def test_a_score_that_is_no_number_stops() -> None:
    """NaN is never a low score: the job stops and the sentence names the rows."""
    scorer = projecting(16)
    vectors = scorer.encode_images(images(3, side=8))
    broken = vectors.copy()
    broken[1] = np.nan
    with pytest.raises(ModelError, match="not numbers for shard 00000 member 7"):
        scorer.score(broken, vectors, ["a", "shard 00000 member 7", "c"])
    with pytest.raises(ModelError, match="row 1"):
        scorer.score(broken, vectors)


def test_out_of_memory_halves_the_batch_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A device without room for a batch gets smaller ones; every row keeps its vector."""
    rows = images(21, side=8)
    wanted = projecting(16).encode_images(rows)
    scorer = projecting(16, Projections(room=5))
    with caplog.at_level(logging.WARNING, "vlcorpus.clip"):
        vectors = scorer.encode_images(rows)
    assert scorer.batch_size == 4
    assert "going on with 4" in caplog.text
    assert np.allclose(vectors, wanted, atol=1e-6)


def test_memory_that_runs_out_in_a_stream_loses_nothing() -> None:
    """When the third batch does not fit, it and those after it are encoded in halves, and none is lost or twice."""
    rows = images(150, side=8)
    wanted = projecting(32).encode_images(rows)
    scorer = projecting(32, Projections(room=16, roomy_batches=2))
    parts = list(scorer.encode_batches(rows[at : at + 32] for at in range(0, 150, 32)))
    assert [len(part) for part in parts] == [32, 32, 32, 32, 22]
    assert scorer.batch_size == 16
    assert np.allclose(np.concatenate(parts), wanted, atol=1e-6)


def test_a_model_that_does_not_fit_at_all_is_one_sentence() -> None:
    """Out of memory with a batch of one is a stop."""
    with pytest.raises(ModelError, match="does not fit into the memory of cpu"):
        projecting(4, Projections(room=0)).encode_images(images(1, side=8))


def test_batches_come_back_in_their_order() -> None:
    """A stream gives a batch's vectors once the next is begun, of batches of any size, as one call does."""
    scorer = projecting(16)
    rows = images(70, side=8)
    begun: list[int] = []

    def batches() -> Iterator[npt.NDArray[np.uint8]]:
        for at, end in ((0, 16), (16, 17), (17, 57), (57, 70)):
            begun.append(end)
            yield rows[at:end]

    stream = scorer.encode_batches(batches())
    first = next(stream)
    assert begun == [16, 17]
    assert np.allclose(np.concatenate([first, *stream]), scorer.encode_images(rows), atol=1e-6)
    assert list(scorer.encode_batches(iter(()))) == []


def test_the_embedded_scorer_says_what_it_runs_with(scorer: Scorer) -> None:
    """Its build names the device, the precision and onnxruntime; drafted JPEGs give it another id."""
    assert scorer.build.keys() == {"device", "precision", "onnxruntime", "batch_size"}
    assert scorer.id.startswith("embedded@")
    assert Scorer(ScorerSettings(draft=True), "cpu").id == f"{scorer.id}+draft"


def test_what_the_embedded_scorer_cannot_do_is_one_sentence() -> None:
    """It runs in fp32 on a CPU: another device, precision or compiler is refused."""
    with pytest.raises(ModelError, match="runs on a CPU: ask for cpu or auto, not 'cuda'"):
        Scorer(ScorerSettings(), "cuda")
    for asked in ({"precision": "bf16"}, {"compile": True}):
        with pytest.raises(ValidationError, match="leave precision and compile out"):
            ScorerSettings.model_validate(asked)


def test_a_language_finds_its_scorer() -> None:
    """The language's own scorer, else the default, else none."""
    assert choose({"en": 1, "zh": 2, "default": 3}, "zh") == 2
    assert choose({"en": 1, "default": 3}, "und") == 3
    assert choose({"en": 1, "default": 3}, None) == 3
    assert choose({"en": 1}, "zh") is None


def test_the_embedded_scorer_runs_without_torch() -> None:
    """Making it and scoring a pair imports none of torch, open_clip, torchvision and transformers."""
    code = """if True:
        import sys
        for name in ("torch", "open_clip", "torchvision", "transformers"):
            sys.modules[name] = None  # an import of it fails
        import numpy as np
        from PIL import Image
        from filters.clip import Scorer
        from schemas.clip import ScorerSettings
        scorer = Scorer(ScorerSettings())
        vectors = scorer.encode_images([scorer.preprocess(Image.new("RGB", (300, 200), "red"))])
        tokens, _ = scorer.tokenize(["a red square"])
        assert np.isfinite(scorer.score(vectors, scorer.encode_texts(tokens))).all()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
