"""The scorer that comes with the package, on pictures that it was not trained on."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from filters.clip import Scorer
from filters.clip.source import FOLDER
from schemas.clip import ScorerSettings
from synth import crawl
from tools import clip_report

LANGUAGES = ("en", "zh")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(ScorerSettings(), "cpu")


def scores(scorer: Scorer, data: Sequence[bytes], captions: Sequence[str]) -> clip_report.Scores:
    """Scores pair by pair, from bytes and text."""
    images = scorer.encode_images([scorer.preprocess(one) for one in data])
    tokens, cut = scorer.tokenize(captions)
    assert not cut.any()
    return scorer.score(images, scorer.encode_texts(tokens)).astype(np.float64)


def test_it_is_small_and_plain() -> None:
    """The weights are one safetensors file of at most 5 MB, beside a configuration and its merges."""
    weights = list(FOLDER.glob("*.safetensors"))
    assert len(weights) == 1
    assert weights[0].stat().st_size <= 5_000_000
    assert (FOLDER / "open_clip_config.json").is_file()


def test_open_clip_gives_its_scores(scorer: Scorer) -> None:
    """By open_clip, from the same folder and with open_clip's own transform, cosines agree within 1e-5."""
    import open_clip
    import torch

    from tests.filters.clips import embedded_tokenizer

    rows = clip_report.held_out("en", 60, seed=5) + clip_report.held_out("zh", 60, seed=5)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    model.eval()
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(io.BytesIO(row.data))) for row in rows])
        texts = model.encode_text(embedded_tokenizer()([row.true for row in rows]), normalize=True)
        wanted = (model.encode_image(pixels, normalize=True) * texts).sum(1).numpy()
    ours = scores(scorer, [row.data for row in rows], [row.true for row in rows])
    assert np.abs(ours - wanted).max() <= 1e-5


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_captions_are_told_from_false_ones(scorer: Scorer, language: str) -> None:
    """On pictures of other seeds the area under the curve is at least 0.99, in English and in Chinese."""
    rows = clip_report.held_out(language, 250, seed=2)
    found = clip_report.report(lambda data, captions: scores(scorer, data, captions), rows)
    assert found.auc >= 0.99
    assert found.auc_photographs >= 0.99


def test_the_demo_crawls_mismatches_are_removed(scorer: Scorer) -> None:
    """A threshold that loses 5 % of the sound rows removes 95 % of the planted ones.

    Where just as many rows are dropped as were planted, nine of ten of those go and hardly any other.
    """
    slots = crawl.plan(900, 3, 250)
    planted = [crawl.row(3, slot) for slot in slots if slot.planted == "mismatch"]
    sound = [crawl.row(3, slot) for slot in slots if slot.planted == "none"][:400]
    good = scores(scorer, [row.data for row in sound], [row.caption or "" for row in sound])
    bad = scores(scorer, [row.data for row in planted], [row.caption or "" for row in planted])
    removed, loss = clip_report.equal_keep_rate(good, bad, len(planted) / len(slots))
    assert removed >= 0.9
    assert loss <= 0.01
    assert (bad < np.quantile(good, 0.05)).mean() >= 0.95
