"""Packages of others, installed into a folder as pip would leave them there."""

import sys
from pathlib import Path

import pytest


def install(folder: Path, package: str, version: str, modules: dict[str, str], points: str) -> Path:
    """Writes the modules of a package and what names its entry points; returns the folder."""
    for name, text in modules.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)
    return folder


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Puts a folder on the import path of this process and its children; its modules are imported anew."""
    monkeypatch.syspath_prepend(str(folder))
    for path in folder.rglob("*.py"):
        dotted = (
            path.relative_to(folder).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        )
        monkeypatch.delitem(sys.modules, dotted, raising=False)
