"""Each list of things stands once: no second one names the same things."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.phases.table import PHASES

HOUSE = Path(__file__).parent.parent
FOLDERS = ("filters", "model", "pipelines", "schemas", "synth", "benchmarks", "tools")

LISTS: dict[str, tuple[str, frozenset[str]]] = {
    "phases": ("pipelines/phases/table.py", frozenset(phase.name for phase in PHASES)),
}
"""By what is listed: the file of the one list, and the names in it."""

ENOUGH = 3
"""So many names of a list in one collection are a second list."""


def collections(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """The line and the texts of each tuple, list, set, dict (its keys), Literal and class of constants (an Enum)."""
    for node in ast.walk(tree):
        match node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                found = parts
            case ast.Dict(keys=keys):
                found = [key for key in keys if key is not None]
            case ast.ClassDef(body=body):
                found = [one.value for one in body if isinstance(one, ast.Assign)]
            case _:
                continue
        yield (
            node.lineno,
            {one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str)},
        )


def second_lists(text: str, names: frozenset[str]) -> list[int]:
    """The lines of a module's text at which a collection names ENOUGH of the names."""
    return [line for line, found in collections(ast.parse(text)) if len(found & names) >= ENOUGH]


@pytest.mark.parametrize("things", LISTS)
def test_one_list_of(things: str) -> None:
    """No module but that of the list holds a collection with three of its names."""
    home, names = LISTS[things]
    assert len(names) >= ENOUGH
    found = []
    for path in (path for folder in FOLDERS for path in sorted((HOUSE / folder).rglob("*.py"))):
        place = path.relative_to(HOUSE).as_posix()
        if place != home:
            found += [f"{place}:{line}" for line in second_lists(path.read_text(), names)]
    assert not found, f"{things} are listed in {home} alone: ask it"


@pytest.mark.parametrize(
    "text",
    [
        'NAMES = ("a", "b", "c")',
        'NAMES = ["x", "c", "b", "a"]',
        'NAMES = {"a", "b", "c"}',
        'def f(x: "Literal"): ...\nKind = Literal["a", "b", "c"]',
        'OF = {"a": 1, "b": 2, "c": 3, **more}',
        'class Kind(StrEnum):\n    a = "a"\n    b = "b"\n    c = "c"',
    ],
)
def test_what_a_list_is(text: str) -> None:
    """Tuples, lists, sets, keys of dicts, Literals and Enums are lists; two names are none."""
    assert second_lists(text, frozenset("abcd"))
    assert not second_lists(text, frozenset("abz"))
