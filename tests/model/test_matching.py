"""Captions and four images."""

import numpy as np
import pytest
import torch

from model.batch import Batch
from model.encode import Encoded, encode
from model.evaluate import OTHERS, _others, matches, matching_figure
from model.qwen_vl import QwenVL, RowLosses, build
from schemas.markup import STAGE2
from tests.model.corpora import TINY, example, tokenizer

PICTURES = [np.full((3, 16, 16), 20 * at, np.uint8) for at in range(10)]
NAMES = [str(at) for at in range(10)]


def _captions() -> list[Encoded]:
    return [encode(example("caption", at), tokenizer(), 4, STAGE2) for at in range(10)]


def test_a_model_that_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model to which a caption is likeliest with its own image is always right, one to which it is least, never."""
    model = build(TINY)
    own = {encode(example("caption", at), tokenizer(), 4, STAGE2).ids: 20 * at for at in range(10)}
    for sign in (1, -1):

        def losses(batch: Batch, sign: int = sign) -> RowLosses:
            fits = []
            for row, picture in zip(batch.input_ids.tolist(), batch.pixels, strict=True):
                (shown,) = {value for ids, value in own.items() if row[: len(ids)] == list(ids)}
                fits.append(sign * float(int(picture.max()) != shown))
            return RowLosses(torch.tensor(fits), torch.ones(len(fits)))

        monkeypatch.setattr(model, "forward", losses)
        found = matches(model, _captions(), PICTURES, NAMES, tokenizer().end, batch=7)
        assert found == [sign == 1] * 10


def test_a_model_that_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the image makes no difference no choice is right: a tie is no choice."""
    model = build(TINY)
    monkeypatch.setattr(
        model, "forward", lambda batch: RowLosses(torch.ones(len(batch.keys)), torch.ones(len(batch.keys)))
    )
    assert matches(model, _captions(), PICTURES, NAMES, tokenizer().end) == [False] * 10


def test_a_model_at_random() -> None:
    """A model that was never trained gives a choice for each caption."""
    found = matches(build(TINY, 3), _captions(), PICTURES, NAMES, tokenizer().end)
    assert len(found) == 10
    assert matching_figure(found)["n"] == 10
    assert matching_figure(found)["chance"] == 0.25


def test_others() -> None:
    """A caption is held against three other images, never twice the same, nor its own under another number."""
    names = ["a", "b", "a", "c", "b", "d", "a", "e"]
    for at in range(len(names)):
        found = _others(at, names)
        assert len(found) == OTHERS
        assert len({names[one] for one in found} | {names[at]}) == 1 + OTHERS


def test_too_few() -> None:
    """One image alone leaves nothing to choose."""
    model: QwenVL = build(TINY)
    assert matches(model, _captions()[:1], PICTURES[:1], NAMES[:1], tokenizer().end) == []
