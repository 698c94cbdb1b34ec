"""Fixtures that every folder of tests shares."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# numpy and torch read these when they are imported: tests run on all cores at once (pytest-xdist), and threads of small
# matrix products that wait for each other cost more than they give
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# a loaded machine is no reason to fail, and CI draws the same examples every time; elsewhere new ones
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("project")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data that VLCORPUS_TEST_DATA names; skips where there is none."""
    folder = os.environ.get("VLCORPUS_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("VLCORPUS_TEST_DATA names no folder of real data (see tests/README.md)")
    return Path(folder)
