"""What of the machine shows in a corpus is named in its manifest."""

from pathlib import Path

import pytest
from PIL import features

from pipelines.card.facts import facts, libraries
from pipelines.recipe.load import load


def test_a_codec_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds of Pillow, one of them without AVIF, give manifests that differ."""
    recipe = load({"sources": [{"id": "a", "path": str(tmp_path)}]})
    here = facts(recipe, {})
    version = features.version
    monkeypatch.setattr(features, "version", lambda name: None if name == "avif" else version(name))
    assert facts(recipe, {}) == {**here, "pillow avif": "none"}
    assert here["pillow avif"] != "none"


def test_what_makes_pages_is_named_by_version(tmp_path: Path) -> None:
    """The libraries of a generator, of the OCR that reads back, and of grounding are among the versions."""
    pages = {"id": "a", "kind": "rendered", "format": "scenes", "render": {"count": 1}}
    papers = {"id": "b", "kind": "rendered", "format": "pdf", "path": "x", "render": {"readback": 0.1}}
    pairs = {"id": "c", "path": str(tmp_path), "ground": {"detector": {"model": "some/model"}}}
    found = libraries(load({"sources": [pages, papers, pairs]}))
    assert {"scikit-image", "pypdfium2", "rapidocr", "transformers"} <= {*found}


def test_what_chunked_is_named(tmp_path: Path) -> None:
    """The chunker of each language, as the workers had it."""
    recipe = load({"sources": [{"id": "a", "path": str(tmp_path)}]})
    assert facts(recipe, {("a", "0"): {"chunkers": {"en": "rules 1"}}})["a: chunker of en"] == "rules 1"


def test_how_text_is_shaped_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages set without raqm, which have no kerning, are told from others by the manifest."""
    source = {"id": "a", "kind": "rendered", "format": "ocr", "render": {"count": 1}}
    recipe = load({"sources": [source]})
    here = facts(recipe, {})
    version = features.version
    monkeypatch.setattr(features, "version", lambda name: None if name == "raqm" else version(name))
    assert facts(recipe, {}) == {**here, "a: pillow raqm": "none"}
