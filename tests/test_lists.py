"""Each list of things stands once: no second one names the same things."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from filters.table import FILTERS, RuleSettings
from pipelines.datasets.table import DATASETS
from pipelines.generators.table import TABLE as GENERATORS
from pipelines.phases.table import PHASES
from pipelines.sources.table import KINDS
from schemas.sample import TASKS

HOUSE = Path(__file__).parent.parent
FOLDERS = ("filters", "model", "pipelines", "schemas", "synth", "tools")


class List(NamedTuple):
    """One list: its file, the names in it, how many of them in one collection are a second list."""

    home: str
    names: frozenset[str]
    enough: int = 3
    but: tuple[str, ...] = ()
    """Files whose collections hold such names for something else."""


_ALIKE = (
    "filters/picture.py",  # columns
    "pipelines/phases/dedup/signals.py",  # kinds of clusters, which synth may not import
    "pipelines/sources/table.py",  # which rules apply, where rows are no pairs
    "synth/defects.py",  # what is planted
    "synth/truth.py",
)

LISTS = {
    "phases": List("pipelines/phases/table.py", frozenset(phase.name for phase in PHASES)),
    "kinds of sources": List("pipelines/sources/table.py", frozenset(KINDS), 4),
    # whose markup is whose; targets of export that are called as the dataset that reads them
    "datasets": List(
        "pipelines/datasets/table.py",
        frozenset(DATASETS),
        3,
        ("pipelines/datasets/conversations.py", "pipelines/export/dialects.py"),
    ),
    "generators": List("pipelines/generators/table.py", frozenset(GENERATORS)),
    "filters": List("filters/table.py", frozenset(one.name for one in FILTERS), 4),
    "rules": List("filters/table.py", frozenset(rule.name for rule in RuleSettings.table), 4, _ALIKE),
    # caption, text and ocr are names of columns and formats too; the trainer scores each task it answers in its own way
    "tasks": List("schemas/sample.py", frozenset(TASKS), 4, ("model/evaluate.py", "model/tasks.py")),
}
"""By what is listed."""


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


def second_lists(text: str, names: frozenset[str], enough: int = 3) -> list[int]:
    """The lines of a module's text at which a collection has `enough` of the names."""
    return [line for line, found in collections(ast.parse(text)) if len(found & names) >= enough]


@pytest.mark.parametrize("things", LISTS)
def test_one_list_of(things: str) -> None:
    """No module but that of the list holds a collection of its names."""
    one = LISTS[things]
    assert len(one.names) >= one.enough
    found = []
    for path in (path for folder in FOLDERS for path in sorted((HOUSE / folder).rglob("*.py"))):
        place = path.relative_to(HOUSE).as_posix()
        if place not in (one.home, *one.but):
            found += [f"{place}:{line}" for line in second_lists(path.read_text(), one.names, one.enough)]
    assert not found, f"{things} are listed in {one.home} alone: ask it"


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
