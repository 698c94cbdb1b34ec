"""A package with a filter, installed in a folder: the one that docs/filters.md shows, or one that is wrong."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests import packages

PAGE = Path(__file__).parent.parent.parent / "docs" / "filters.md"
_PYTHON = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)
assert _PYTHON is not None
SOURCE = _PYTHON[1]
"""The module that the page shows."""

Install = Callable[..., Path]


def install(
    folder: Path, source: str = SOURCE, entry: str = "sharpness", package: str = "acme_sharpness"
) -> Path:
    """Installs a package of one module in a folder as pip does; returns the folder, for sys.path."""
    points = f"[vlcorpus.filters]\n{entry} = {package}:FILTER\n"
    return packages.install(folder, package.replace("_", "-"), "1.2", {f"{package}.py": source}, points)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs packages for one test."""
    before = set(sys.modules)

    def put(*given: Any, **named: Any) -> Path:
        folder = install(tmp_path / "site", *given, **named)
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        return folder

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("acme_"):
            del sys.modules[name]


def images(folder: Path, count: int = 6) -> Path:
    """A folder of images with captions, every other one blurred."""
    folder.mkdir()
    lines = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (240, 260, 3), np.uint8)
        image = Image.fromarray(noise)
        if number % 2:
            image = image.filter(ImageFilter.GaussianBlur(8))
        image.save(folder / f"{number}.png")
        lines.append(f'{{"image": "{number}.png", "caption": "A photo of a beach on day number {number}"}}')
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def recipe(folder: Path, **more: Any) -> dict[str, Any]:
    """A recipe over such a folder, with the filter and its rule."""
    return {
        "languages": ["en"],
        "sources": [{"id": "web", "path": str(folder), "kind": "folder"}],
        "signals": {"sharpness": {"step": 2}},
        "rules": {"min_sharpness": {"value": 20}, "phash": False},
        **more,
    }
