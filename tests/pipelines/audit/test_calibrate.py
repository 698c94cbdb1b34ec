"""`vlcorpus calibrate`: what a threshold keeps, by source and language."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.audit.calibrate import Curve, curves, plot, show
from pipelines.show.terminal import Terminal
from schemas.errors import InputError
from tests.pipelines.building import build
from tests.pipelines.raw import caption, scored


def corpus(folder: Path, clip: dict[str, Any], until: str = "card") -> str:
    """60 rows with the scores 0.01 to 0.60, every third in Chinese."""
    captions = [f"花园里有一朵红色的花和小鸟{n}" if n % 3 == 0 else caption(n) for n in range(60)]
    path = scored(folder / "in" / "a.parquet", [(n + 1) / 100 for n in range(60)], captions)
    source = {"id": "web", "path": str(path), "columns": "laion", "clip_score": "similarity"}
    rules = {"clip": clip, "exact": False, "pixels": False, "phash": False}
    build({"languages": ["en", "zh"], "sources": [source], "rules": rules}, folder / "out", until)
    return str(folder / "out")


def printed(found: list[Curve], width: int = 100) -> str:
    """What a terminal of that width shows."""
    out = io.StringIO()
    show(found, Terminal(file=out, width=width))
    return out.getvalue()


@given(st.lists(st.integers(-99_999, 99_999), min_size=1, max_size=60), st.floats(0.01, 1))
def test_a_threshold_keeps_its_share(values: list[int], share: float) -> None:
    """The threshold for a share keeps that share to within a row, ties aside, and is a score that occurs."""
    scores = np.sort(np.round(np.array(values) / 1e5, 5).astype(np.float32))
    curve = Curve("web", "all", "s", scores)
    threshold = curve.threshold(share)
    at = round(threshold, 5)
    kept = float(curve.share(at)) * len(scores)
    ties = int((scores == np.float32(threshold)).sum())
    assert threshold in scores
    assert share * len(scores) - 1 <= kept <= max(1, share * len(scores)) + ties


def test_languages_and_the_threshold_in_use(tmp_path: Path) -> None:
    """Each language has its curve, and beside the shares stand the threshold in use and what it keeps."""
    found = curves(corpus(tmp_path, {"keep": 0.5, "languages": {"zh": {"min": 0.31}}}))
    assert [(curve.language, len(curve.scores)) for curve in found] == [("all", 60), ("en", 40), ("zh", 20)]
    whole, english, chinese = found
    assert whole.used is None
    assert chinese.used == 0.31
    assert float(chinese.share(chinese.used)) == 0.5
    assert english.used is not None
    assert float(english.share(english.used)) == 0.5
    text = printed(found)
    assert "in use" in text
    assert "0.31" in text
    assert "50.0%" in text
    assert "given:similarity" in text
    # on a narrow terminal no figure is cut
    assert "…" not in "".join(line[12:] for line in printed(found, 80).splitlines()[3:])


def test_a_corpus_that_is_only_scored(tmp_path: Path) -> None:
    """After phase score alone, before there is any manifest, curves are told without a threshold in use."""
    found = curves(corpus(tmp_path, {"keep": 0.5}, "score"))
    assert {curve.used for curve in found} == {None}
    assert "in use" not in printed(found)


def test_few_rows_of_a_language_are_shown_together(tmp_path: Path) -> None:
    """Languages of less than twenty rows share a line, and it is not drawn."""
    captions = ["花园里有一朵红色的花和小鸟" if n < 5 else caption(n) for n in range(40)]
    path = scored(tmp_path / "in" / "a.parquet", [(n + 1) / 100 for n in range(40)], captions)
    source = {"id": "web", "path": str(path), "columns": "laion", "clip_score": "similarity"}
    build({"languages": ["en", "zh"], "sources": [source]}, tmp_path / "out", "score")
    assert [(c.language, len(c.scores)) for c in curves(str(tmp_path / "out"))] == [
        ("all", 40),
        ("en", 35),
        ("others", 5),
    ]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_plot(suffix: str, tmp_path: Path) -> None:
    """A plot is drawn by suffix, a panel a source; a folder that is not there is one sentence."""
    scores = np.sort(np.random.default_rng(0).normal(0.3, 0.1, 500).astype(np.float32))
    found = [Curve(name, lang, "s@1", scores, 0.25) for name in "abc" for lang in ("all", "en", "zh")]
    plot(found, tmp_path / f"curves.{suffix}")
    if suffix == "png":
        with Image.open(tmp_path / "curves.png") as image:
            assert image.width > image.height > 600
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20
    else:
        assert "<svg" in (tmp_path / "curves.svg").read_text()
    with pytest.raises(InputError, match="cannot write the plot"):
        plot(found, tmp_path / "nowhere" / f"curves.{suffix}")
