"""Corpora that are opened to be read."""

from pathlib import Path
from typing import Any

import vlcorpus
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
