"""What make prints of pip: nothing while it succeeds, all where it fails."""

import shutil
import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile and what it reads, with a .venv whose pip warns, and fails where `broken` is among its words."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(HOUSE / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text("#!/bin/sh\n")
    (programs / "pip").write_text(
        '#!/bin/sh\necho "WARNING: running pip as root" >&2\n'
        "case \"$*\" in *broken*) echo 'ERROR: no such package' >&2; exit 1;; esac\n"
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    return tmp_path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`make` in that checkout."""
    return subprocess.run(["make", "PYTHON=sh", *words], cwd=checkout, capture_output=True, text=True)


def test_a_success_is_quiet(checkout: Path) -> None:
    """Where pip installs, its warnings stay in a file, and a second call does nothing."""
    done = make(checkout, "install")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    assert "WARNING" in (checkout / ".venv" / "pip.log").read_text()
    assert "installing" not in make(checkout, "install").stdout


def test_a_failure_is_told(checkout: Path) -> None:
    """Where pip fails, make fails too, prints all that pip said, and tries again next time."""
    broken = "PIP=.venv/bin/pip broken"
    for _ in range(2):
        done = make(checkout, "install", broken)
        assert done.returncode != 0
        assert "WARNING: running pip as root\nERROR: no such package\n" in done.stdout
