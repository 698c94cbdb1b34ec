"""Fixtures that every folder of tests shares."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data that VLCORPUS_TEST_DATA names; skips where there is none."""
    folder = os.environ.get("VLCORPUS_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("VLCORPUS_TEST_DATA names no folder of real data (see tests/README.md)")
    return Path(folder)
