"""What a test needs beside the packages: where it is missing the test skips, and the end of the run says so."""

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

from schemas.errors import InputError
from synth import chromium as browsers

if TYPE_CHECKING:
    from synth.page.fonts import Fonts

REMEDIES: Final = {
    "Chromium": "make system",
    "fonts for Arabic": "make system",
    "fonts for Chinese": "make system",
    "fonts for English": "make system",
    "Megatron-Energon": "make chaos",
    "packages of the extras": "make install",
    "real data": "VLCORPUS_TEST_DATA=FOLDER (tests/README.md)",
}
"""How to get each thing that a test may need."""
_WRITTEN: Final = {
    "ar": ("Arabic", "تغادر السفينة"),
    "en": ("English", "The boat leaves."),
    "zh": ("Chinese", "清晨六点，船离开。"),
}


def skip(need: str) -> NoReturn:
    """Skips the test, or the file while it is imported, since the machine lacks `need`."""
    pytest.skip(f"needs {need}: {REMEDIES[need]}", allow_module_level=True)


def chromium() -> str:
    """Returns the path of a Chromium; skips where there is none."""
    try:
        return browsers.find()
    except InputError:
        skip("Chromium")


def fonts(language: str) -> "Fonts":
    """Returns the system's fonts; skips where none of them can write `language`."""
    from synth.page.fonts import find

    name, words = _WRITTEN[language]
    try:
        found = find()
        found.for_text(words, language)
    except InputError:
        skip(f"fonts for {name}")
    return found


def energon() -> Path:
    """Returns the Python of the environment with Megatron-Energon; skips where there is none."""
    python = Path(sys.prefix) / "energon" / "bin" / "python"
    if not python.exists():
        skip("Megatron-Energon")
    return python


def package(name: str) -> ModuleType:
    """Returns an imported package of the extras; skips where it is not installed."""
    need = "packages of the extras"
    module: ModuleType = pytest.importorskip(name, reason=f"needs {need}: {REMEDIES[need]}")
    return module


def untested(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """Returns one line for each reason why tests were skipped: their rooms, how many, and what to install.

    `skipped` has a node id and a reason for each test, or for each file that was skipped while it was imported.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for node, reason in skipped:
        found[reason.removeprefix("Skipped: ")].append(node)
    return [
        f"not tested: {_rooms(nodes)} ({_count(nodes)}): {reason}" for reason, nodes in sorted(found.items())
    ]


def _rooms(nodes: Iterable[str]) -> str:
    """Returns the rooms of some tests: `synth/web` for tests/synth/test_web.py."""
    files = {node.partition("::")[0] for node in nodes}
    names = (file.removeprefix("tests/").removesuffix(".py").replace("test_", "", 1) for file in files)
    return ", ".join(sorted(names))


def _count(nodes: list[str]) -> str:
    files = sum("::" not in node for node in nodes)
    tests = len(nodes) - files
    counts = (
        (tests, "test" if tests == 1 else "tests"),
        (files, "whole file" if files == 1 else "whole files"),
    )
    return " and ".join(f"{number} {name}" for number, name in counts if number)
