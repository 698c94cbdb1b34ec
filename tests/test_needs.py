"""What could not be tested is said at the end of a run."""

import os
import subprocess
import sys
from pathlib import Path

from tests import needs

HOUSE = Path(__file__).parent.parent


def test_rooms_are_grouped_by_what_is_missing() -> None:
    """One line for each reason names the rooms, counts their tests, and files that were skipped whole."""
    chromium, ray = "needs Chromium: make system", "needs packages of the extras: make install"
    skipped = [
        ("tests/synth/test_web.py::test_a[0]", f"Skipped: {chromium}"),
        ("tests/synth/test_web.py::test_b", f"Skipped: {chromium}"),
        ("tests/pipelines/engines/test_ray.py", ray),
        ("tests/pipelines/test_look.py::test_c@chromium", chromium),
    ]
    assert needs.untested(skipped) == [
        f"not tested: pipelines/look, synth/web (3 tests): {chromium}",
        f"not tested: pipelines/engines/ray (1 whole file): {ray}",
    ]
    assert needs.untested([]) == []


def test_a_machine_without_chromium_and_data_is_told_what_to_install(tmp_path: Path) -> None:
    """The end of a run over several workers says what was not tested; the closing line still counts the tests."""
    bare = {**os.environ, "PATH": str(tmp_path), "VLCORPUS_TEST_DATA": "", "PYTEST_ADDOPTS": ""}
    files = ["tests/synth/test_web.py", "tests/synth/test_pdf.py"]
    names = "traps or remedy or real"
    command = [sys.executable, "-m", "pytest", "-n", "1", "--dist", "loadgroup", "-k", names, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HOUSE, env=bare)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, chromium, data, closing = done.stdout.splitlines()
    assert chromium == "not tested: synth/web (4 tests): needs Chromium: make system"
    assert data.startswith("not tested: synth/pdf (1 test): needs real data: VLCORPUS_TEST_DATA=FOLDER")
    assert "1 passed, 5 skipped" in closing
