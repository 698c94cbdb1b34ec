"""Corpora that are opened to be read."""

from pathlib import Path
from typing import Any

import pytest

import vlcorpus
from pipelines.audit import status
from pipelines.opening import open_manifest
from schemas.errors import InputError
from tests.pipelines import building, raw
from tests.pipelines.crawls import demo


def test_an_object_store(tmp_path: Path, s3_options: dict[str, Any]) -> None:
    """A corpus on S3 is built and opened with the same calls."""
    crawl = demo(tmp_path, 60, 30)
    out = "s3://bucket/python/corpus"
    made = vlcorpus.build(
        crawl, out, "inline", progress=False, max_quarantine=0.5, storage_options=s3_options
    )
    opened = vlcorpus.Corpus.open(out, s3_options)
    assert opened.manifest == made.manifest
    assert opened.decisions().count_rows() == 60
    assert len(list(opened.samples())) == opened.funnel()["input"].kept
    assert opened.verify() == []


def test_a_phase_alone_leaves_a_corpus_that_says_so(tmp_path: Path) -> None:
    """After `select` with another threshold the manifest stays, but neither `status` nor `open` takes it for true."""
    source = {"id": "web", "path": str(raw.shard(tmp_path / "in" / "0.tar", range(6)))}
    recipe = {"sources": [source]}
    building.build(recipe, tmp_path / "out")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    building.build(recipe, tmp_path / "out", until="select")
    assert open_manifest(str(tmp_path / "out")).funnel["web"].kept == 6
    building.build(
        {**recipe, "rules": {"caption_length": {"min_chars": 900}}}, tmp_path / "out", until="select"
    )
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert not status.read(str(tmp_path / "out")).finished
    with pytest.raises(InputError, match=r"has changed since its manifest was written.* run the command"):
        open_manifest(str(tmp_path / "out"))
    building.build(recipe, tmp_path / "out")
    assert status.read(str(tmp_path / "out")).finished
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
