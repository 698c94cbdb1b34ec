"""A filter whose source changes must get another VERSION, or old signals would pass for new ones.

After a change that alters no result, or with the new VERSION, write the record anew:

    .venv/bin/python -m tests.filters.test_versions
"""

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from filters import table
from filters.table import FILTERS

RECORD = Path(__file__).with_name("versions.json")
VERSIONS = {one.name: one.version for one in FILTERS}
MODULES = {
    module.FILTER.name: module.__name__ for module in vars(table).values() if hasattr(module, "FILTER")
}
HOUSE = Path(__file__).parent.parent.parent


def sources(module: str) -> list[str]:
    """A filter's module and all of filters/ and schemas/ that it imports, by dotted name."""
    found: list[str] = []
    todo = [module]
    while todo:
        name = todo.pop()
        path = HOUSE / f"{name.replace('.', '/')}.py"
        if name in found or not path.exists():
            continue
        found.append(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("filters"):
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(found)


def digest(names: list[str]) -> str:
    """What the code does: its syntax without comments, docstrings and layout."""
    whole = hashlib.sha256()
    for name in names:
        tree = ast.parse((HOUSE / f"{name.replace('.', '/')}.py").read_text())
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and ast.get_docstring(node) is not None
            ):
                node.body = node.body[1:] or [ast.Pass()]
        whole.update(f"{name}\n{ast.dump(tree)}\n".encode())
    return whole.hexdigest()


def now() -> dict[str, Any]:
    """VERSION, sources and their digest of every filter, as they are."""
    record = {}
    for name, module in MODULES.items():
        names = sources(module)
        record[name] = {"version": VERSIONS[name], "sources": names, "sha256": digest(names)}
    return record


@pytest.mark.parametrize("name", list(VERSIONS))
def test_a_changed_filter_has_another_version(name: str) -> None:
    """The record beside this file has each filter's VERSION and the digest of all that it is made of."""
    kept, found = json.loads(RECORD.read_text())[name], now()[name]
    assert kept["version"] == found["version"], "VERSION has changed: write the record anew (see above)"
    assert kept["sha256"] == found["sha256"], (
        f"the source of {name} has changed ({', '.join(found['sources'])}): raise its VERSION if any signal can "
        "come out differently, then write the record anew (see above)"
    )


def test_the_sources_are_found() -> None:
    """A filter's own modules are followed through their imports."""
    found = sources("filters.picture")
    assert {
        f"filters.{name}" for name in ("picture", "header", "orientation", "pixels", "phash", "contrast")
    } <= {*found}


def test_layout_and_comments_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment or a docstring leaves the digest alone; a number does not."""
    monkeypatch.setattr("tests.filters.test_versions.HOUSE", tmp_path)
    found = []
    for text in ("x = 1\n", '"""Doc."""\n# why\nx = (1)\n', "x = 2\n"):
        (tmp_path / "m.py").write_text(text)
        found.append(digest(["m"]))
    assert found[0] == found[1] != found[2]


if __name__ == "__main__":
    RECORD.write_text(json.dumps(now(), indent=1, sort_keys=True) + "\n")
