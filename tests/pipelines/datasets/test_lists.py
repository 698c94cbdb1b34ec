"""Tasks and datasets are listed once."""

import ast
from pathlib import Path

import pytest

from pipelines.datasets.table import DATASETS
from schemas.sample import TASKS

HOUSE = Path(__file__).parents[3]
FOLDERS = ("filters", "pipelines", "schemas", "synth", "tools")
"""Not model/, whose one table says how the answers to each task are scored."""

LISTS = {
    "schemas/sample.py": (frozenset(TASKS), 4),
    "pipelines/datasets/table.py": (frozenset(DATASETS), 3),
}
"""By the file of a list: the names in it, and how many of them in one collection are a second list. Some names of
tasks are those of columns too."""


def texts(node: ast.AST) -> set[str]:
    """The texts in a tuple, list or set, the keys of a dict; nothing of another node."""
    match node:
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.Dict(keys=parts):
            return {
                one.value for one in parts if isinstance(one, ast.Constant) and isinstance(one.value, str)
            }
    return set()


@pytest.mark.parametrize("home", LISTS)
def test_no_second_list(home: str) -> None:
    """No tuple, list, set, dict or Literal elsewhere holds the names of the list."""
    names, enough = LISTS[home]
    seen = {}
    for path in (path for folder in FOLDERS for path in (HOUSE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if len(texts(node) & names) >= enough:
                seen[path.relative_to(HOUSE).as_posix()] = texts(node)
    assert list(seen) == [home]
