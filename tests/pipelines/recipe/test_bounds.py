"""Every number that a person may give has a least and a largest value."""

import inspect
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import annotated_types
import pytest
import typer
from pydantic import BaseModel

from pipelines.cli import app
from pipelines.generators.table import TABLE as GENERATORS
from pipelines.recipe.model import Recipe
from tests.pipelines.crawls import run_inline

ABOVE = (annotated_types.Le, annotated_types.Lt)
BELOW = (annotated_types.Ge, annotated_types.Gt)


def unbounded(hint: Any, where: str, seen: set[type], marks: tuple[Any, ...] = ()) -> Iterator[str]:
    """The places of numbers below a type that lack a bound; `marks` are those of the type itself."""
    if get_origin(hint) is Annotated:
        inner, *more = get_args(hint)
        yield from unbounded(inner, where, seen, (*marks, *(one for mark in more for one in spread(mark))))
    elif hint in (int, float):
        missing = [
            name
            for name, kinds in (("above", ABOVE), ("below", BELOW))
            if not any(isinstance(m, kinds) for m in marks)
        ]
        if missing:
            yield f"{where}: no bound {' and '.join(missing)}"
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        if hint not in seen:
            seen.add(hint)
            yield from fields(hint, where, seen)
    elif get_origin(hint) in (Union, types.UnionType):
        for one in get_args(hint):
            yield from unbounded(one, where, seen, marks)
    else:
        for one in get_args(hint):
            yield from unbounded(one, where, seen)


def spread(mark: Any) -> tuple[Any, ...]:
    return tuple(getattr(mark, "metadata", ())) or (mark,)


def fields(model: type[BaseModel], where: str, seen: set[type]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield from unbounded(field.annotation, f"{where}.{name}", seen, tuple(field.metadata))


def test_every_number_of_a_recipe_has_both_bounds() -> None:
    """No key of a recipe, of a rule, a filter or a generator takes a number without a least and a largest value.

    What a rule holds against a column of the data (filters/extra.py) may be any number.
    """
    seen: set[type] = set()
    found = list(fields(Recipe, "recipe", seen))
    for name, one in GENERATORS.items():
        found += fields(one.settings, name, seen)
    assert found == []
    assert {"CaptionLength", "PictureSettings", "ScorerSettings", "GroundSettings"} <= {
        one.__name__ for one in seen
    }


def numbers(commands: typer.Typer) -> Iterator[tuple[str, Any]]:
    """The parameters that are numbers of the commands, and of those below them, with what typer is told of each."""
    for group in commands.registered_groups:
        assert group.typer_instance is not None
        yield from numbers(group.typer_instance)
    for command in commands.registered_commands:
        assert command.callback is not None
        for one in inspect.signature(command.callback).parameters.values():
            hint, *told = (
                get_args(one.annotation) if get_origin(one.annotation) is Annotated else (one.annotation,)
            )
            if {int, float} & {hint, *get_args(hint)}:
                yield f"{command.callback.__name__} {one.name}", told[0] if told else None


def test_every_number_on_the_command_line_has_both_bounds() -> None:
    """No option takes a number without a least and a largest value."""
    found = list(numbers(app))
    assert len(found) > 20
    assert sorted({name for name, told in found if told is None or None in (told.min, told.max)}) == []


def test_a_number_out_of_bounds_is_one_sentence(tmp_path: Path) -> None:
    """A number above its bound is refused with its place, however many digits it has."""
    path = tmp_path / "recipe.yaml"
    for digits in (25, 5_000, 200_000):
        path.write_text(f"seed: {'9' * digits}\nsources: [{{id: a, path: x}}]\n")
        done = run_inline("build", path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {path}:1: ")
        assert done.stderr.count("\n") == 1
        assert len(done.stderr) < 400


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "a: &a [x]\n"
        + "".join(f"k{n}: &b{n} [{','.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(12)),
        "seed: " + "1:" * 100_000 + "1",
        "seed: 0x" + "f" * 100_000,
        "seed: 1e999999999",
        "seed: .inf",
        "seed: .nan",
        "name: 2024-99-99",
        "? {a: 1}\n: 2",
        "a: !!python/object/apply:os.system ['true']",
    ],
)
def test_costly_yaml_is_one_sentence_at_once(text: str, tmp_path: Path) -> None:
    """Deep nesting, aliases that unfold, numbers without end: all are refused, and within seconds of CPU."""
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    began = time.process_time()
    done = run_inline("build", path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr) < 1_000
    assert time.process_time() - began < 20
