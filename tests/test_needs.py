"""How a run spreads its tests, and what it says at its end of those that it could not run."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of a run by two workers over two files, on a machine without Chromium and real data."""
    bare = {**os.environ, "PATH": str(tmp_path_factory.mktemp("bin")), "VLCORPUS_TEST_DATA": ""}
    words = ["-n", "2", "--dist", "loadgroup", "-v", "-k", "traps or remedy or real"]
    command = [sys.executable, "-m", "pytest", *words, "tests/synth/test_web.py", "tests/synth/test_pdf.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HOUSE, env=bare)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_machine_without_chromium_and_data_is_told_what_to_install(said: list[str]) -> None:
    """The end of a run says what was not tested; the closing line still counts the tests."""
    *_, chromium, data, closing = said
    assert chromium == "not tested: synth/web (4 tests): needs Chromium: make system"
    assert data.startswith("not tested: synth/pdf (1 test): needs real data: VLCORPUS_TEST_DATA=FOLDER")
    assert "1 passed, 5 skipped" in closing


DEADLY = """
import os
def test_before(): pass
def test_deadly(): os.abort()
def test_after(): pass
"""


def test_a_test_that_ends_its_worker_is_told_once(tmp_path: Path) -> None:
    """A crash is one failure; the tests after it run in another worker."""
    (tmp_path / "test_deadly.py").write_text(DEADLY)
    words = ["-c", str(HOUSE / "pyproject.toml"), "-p", "tests.conftest", "-n", "1", "--dist", "loadgroup"]
    command = [sys.executable, "-m", "pytest", *words, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HOUSE)
    assert "1 failed, 2 passed" in done.stdout.splitlines()[-1], done.stdout + done.stderr


def test_the_tests_of_a_file_go_to_one_worker(said: list[str]) -> None:
    """What a file makes is made once: no two workers run tests of one file."""
    workers = defaultdict(set)
    for worker, file in re.findall(r"\[(gw\d)\].* (\S+)::", "\n".join(said)):
        workers[file].add(worker)
    assert {file: len(found) for file, found in workers.items()} == {
        "tests/synth/test_pdf.py": 1,
        "tests/synth/test_web.py": 1,
    }
