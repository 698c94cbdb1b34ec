"""The training of the embedded scorer, a few steps of it."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
from open_clip.tokenizer import SimpleTokenizer

from tools import clip_report, train_clip

TEXTS = ["a red circle", "a red square above a red circle", "一个红色的圆形", "红色的圆形和红色的三角形"]


def test_merges_are_repeated_and_read_by_open_clip(tmp_path: Path) -> None:
    """Equal captions give equal bytes, and open_clip's tokenizer reads any text with them and back."""
    data = train_clip.dump_merges(train_clip.learn_merges(TEXTS, 60))
    assert data == train_clip.dump_merges(train_clip.learn_merges(TEXTS, 60))
    (tmp_path / "merges.txt.gz").write_bytes(data)
    tokenizer = SimpleTokenizer(bpe_path=str(tmp_path / "merges.txt.gz"), context_length=32)
    assert len(tokenizer.encode("a red circle")) == 3
    for text in (*TEXTS, "ein Hörnchen", "猫"):
        spaced = tokenizer.decode(tokenizer.encode(text))
        assert spaced.replace(" ", "") == text.lower().replace(" ", "")


def test_no_token_holds_more_than_two_chinese_characters() -> None:
    """Chinese is cut into tokens of one or two whole characters."""
    decode = SimpleTokenizer().byte_decoder
    for pair in train_clip.learn_merges(TEXTS * 3, 200):
        text = bytes(decode[letter] for letter in "".join(pair).removesuffix("</w>")).decode(errors="replace")
        assert text.isascii() or len(text) <= 2


def test_a_short_training_repeats_and_open_clip_loads_it(tmp_path: Path) -> None:
    """Two runs of one plan write equal weights; open_clip loads the folder and scores with it."""
    plan = train_clip.Plan(steps=2, batch=8, captions=20)
    for name in ("a", "b"):
        train_clip.train(plan, tmp_path / name)
    files = [(tmp_path / name / "open_clip_model.safetensors").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]
    rows = clip_report.held_out("zh", 6)
    scores = train_clip.score_pairs(tmp_path / "a")([row.data for row in rows], [row.true for row in rows])
    assert scores.shape == (6,)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() <= 1 + 1e-6
    assert open_clip.get_model_config(f"local-dir:{tmp_path / 'a'}")["embed_dim"] == 128


@pytest.mark.parametrize(
    ("true", "false", "expected"),
    [([0.9, 0.8], [0.1, 0.2], 1.0), ([0.1, 0.2], [0.8, 0.9], 0.0), ([0.5, 0.5], [0.5, 0.5], 0.5)],
)
def test_auc_counts_pairs(true: list[float], false: list[float], expected: float) -> None:
    """The area is the share of pairs in the right order, ties a half."""
    assert clip_report.auc(np.array(true), np.array(false)) == expected


def test_equal_keep_rate_drops_as_many_as_were_planted() -> None:
    """A scorer that ranks every false caption below every true one removes all and loses none."""
    true, false = np.linspace(0.5, 0.9, 940), np.linspace(-0.5, 0.4, 60)
    assert clip_report.equal_keep_rate(true, false, 0.06) == (1.0, 0.0)
    removed, loss = clip_report.equal_keep_rate(-true, -false, 0.06)
    assert removed == 0
    assert loss == pytest.approx(60 / 940)
