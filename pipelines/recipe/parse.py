"""Reads a recipe from YAML: strict, limited, and with a line number for whatever is wrong."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.recipe.model import Recipe
from schemas.errors import RecipeError, nearest

MAX_BYTES = 1 << 20
MAX_NODES = 100_000
_SHOWN = 200
_DIGITS = 100
_INT = "tag:yaml.org,2002:int"

Path = tuple[str | int, ...]

Check = Callable[[Recipe], Iterable[tuple[Path, str]]]
"""Says where a sound recipe is wrong all the same, and how: what the schema alone cannot know."""


# the name of an alias, anchor or tag: a password that is not quoted may look like one
_UNKNOWN = re.compile(r"(?<=alias|.chor|. tag|andle) [\"'].*[\"']")

_OPTIONS = "write one mapping of fsspec's options, such as {key: …, secret: …}"


class _Loader(yaml.SafeLoader):
    """YAML without surprises: `no` is the language, not False; no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Returns the value of a node; a scalar that is none of its kind (a date 2024-99-99) is wrong at its line."""
        if isinstance(node, yaml.ScalarNode) and node.tag == _INT and len(node.value) > _DIGITS:
            raise yaml.MarkedYAMLError(
                problem=f"a number of more than {_DIGITS} digits", problem_mark=node.start_mark
            )
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, OverflowError):
            raise yaml.MarkedYAMLError(
                problem="a value is not of the kind that it says or looks like", problem_mark=node.start_mark
            ) from None


# of YAML 1.1's truth values only these: `no` is Norwegian and `y` is a coordinate
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfFoO"
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(
    text: str, name: str, extra: dict[str, Any] | None = None, check: Check = lambda recipe: ()
) -> Recipe:
    """The recipe that `text` holds; `extra` are top-level keys that stand above the file's.

    Raises RecipeError: file, line, what is wrong and what would be right.
    """
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{name}: a recipe of more than {MAX_BYTES:,} characters is not read")
    try:
        root, record = _read(text, name)
    except yaml.MarkedYAMLError as error:
        what = _UNKNOWN.sub("", error.problem or error.context or "")
        raise RecipeError(f"{name}{_line_of(error)}: not valid YAML: {what}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError as error:
        raise RecipeError(f"{name}: nested too deeply to be a recipe") from error
    return from_record(record, name, extra, check, root)


def storage_options(text: str, name: str) -> dict[str, Any]:
    """Returns the storage options that a file holds: one mapping, YAML as in a recipe, or JSON.

    Raises RecipeError, which quotes nothing of the text: it may hold secrets.
    """
    try:
        record = json.loads(text) if name.endswith(".json") else _read(text, name)[1]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{name}{_line_of(error)}: not valid YAML or JSON; {_OPTIONS}") from None
    if not isinstance(record, Mapping) or not record or not all(isinstance(key, str) for key in record):
        raise RecipeError(f"{name}: holds no storage options; {_OPTIONS}")
    if "storage_options" in record:
        raise RecipeError(f"{name}: give the mapping below storage_options alone; {_OPTIONS}")
    return dict(record)


def _line_of(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f":{error.lineno}"
    mark = error.problem_mark or error.context_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return f":{mark.line + 1}" if mark else ""


def from_record(
    record: Any,
    name: str,
    extra: dict[str, Any] | None = None,
    check: Check = lambda recipe: (),
    root: yaml.Node | None = None,
) -> Recipe:
    """Returns the recipe that a mapping holds; `extra` are top-level keys that stand above its own.

    `root` is the YAML that the mapping was read from, for line numbers. Raises RecipeError as `parse` does.
    """
    if not isinstance(record, Mapping):
        raise RecipeError(f"{name}: a recipe is a map of keys to values, this is a {type(record).__name__}")
    given = frozenset(extra or ())
    try:
        recipe = Recipe.model_validate({**record, **(extra or {})})
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # a list whose items are wrong is not short of items as well, and a map is meant where a value of it is wrong
        places = [_without_branches(problem["loc"]) for problem in problems]
        outside = {place[:end] for place in places for end in range(len(place))}
        problems = [problem for problem, place in zip(problems, places, strict=True) if place not in outside]
        sentences = [_sentence(problem, root, name, given) for problem in problems]
        raise RecipeError(*dict.fromkeys(sentences[:5])) from None
    for where, what in check(recipe):
        raise RecipeError(f"{_place(where, root, name, given)}: {'.'.join(map(str, where))}: {what}")
    return recipe


def _read(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """The text's node, for line numbers, and its value."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        _limit(root, name)
        return root, loader.construct_document(root) if root is not None else {}
    finally:
        loader.dispose()


def _limit(root: yaml.Node | None, name: str) -> None:
    """Refuse a text whose aliases unfold to more nodes than any recipe has."""
    todo, count = [root] if root is not None else [], 0
    while todo:
        node = todo.pop()
        count += 1
        if count > MAX_NODES:
            raise RecipeError(f"{name}: its aliases unfold to more than {MAX_NODES:,} values")
        if isinstance(node, yaml.MappingNode):
            todo += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value


def _place(where: Path, root: yaml.Node | None, name: str, given: frozenset[str]) -> str:
    """Where a key was written: a file and its line, or the options given beside it."""
    if where and where[0] in given:
        return "the options"
    line = _line(root, where)
    return f"{name}:{line}" if line else name


_PLAIN: dict[str, str] = {
    "tuple_type": "should be a list",
    "dict_type": "should be a map of keys to values",
    "model_type": "should be a map of keys to values",
    "model_attributes_type": "should be a map of keys to values",
    "finite_number": "should be a finite number",
}
"""What pydantic says in Python's words, in YAML's."""


def _sentence(problem: Any, root: yaml.Node | None, name: str, given: frozenset[str]) -> str:
    """One validation error as file:line: key: what is allowed."""
    where = _public(_without_branches(problem["loc"]))
    key = ".".join(map(str, where))
    at = _place(where, root, name, given)
    match problem["type"]:
        case "extra_forbidden":
            return f"{at}: unknown key {key}; {_allowed(where)}"
        case "missing":
            return f"{at}: {key} is missing"
        case "too_short":
            return f"{at}: {key}: should not be empty"
        case _:
            shown = "" if where[-1:] == (SECRET,) else _value(problem["input"])
            sentence = _PLAIN.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
            if shown and shown.removeprefix(" (it is ").removesuffix(")") in sentence.partition("not ")[2]:
                shown = ""  # the sentence itself quotes it
            return f"{at}: {key}: {sentence}{shown}" if key else f"{at}: {sentence}"


SECRET = "storage_options"
"""The key below which nothing is shown, in whatever block."""


def _public(where: Path) -> Path:
    """Where a key stands, but not where within storage options: even their keys may be a secret in the wrong place."""
    return where[: where.index(SECRET) + 1] if SECRET in where else where


def _value(value: Any) -> str:
    """Returns what is said of a value that is wrong, cut where it is long."""
    if not isinstance(value, str | int | float | bool):
        return ""
    if isinstance(value, int) and value.bit_length() > 4 * _DIGITS:
        return f" (it has more than {_DIGITS} digits)"
    text = repr(value)
    return f" (it is {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'})"


def _without_branches(where: Path) -> Path:
    return tuple(part for part in where if not _is_branch(part))


def _is_branch(part: str | int) -> bool:
    """pydantic names the branch of a union in the path; no key of ours looks like that, and none has a slash."""
    if not isinstance(part, str) or "/" in part:
        return False
    return (
        part[:1].isupper()
        or "[" in part
        or part.startswith("constrained-")
        or part in ("bool", "str", "tuple")
    )


def _line(root: yaml.Node | None, where: Path) -> int | None:
    """The line of the deepest part of `where` that the text has."""
    node, line = root, None
    for part in where:
        found = _child(node, part)
        if found is None:
            break
        line, node = found
    return line


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _allowed(where: Path) -> str:
    names = _fields(Recipe, where[:-1])
    return f"{nearest(str(where[-1]), names)}allowed are {', '.join(names)}{_OTHERS.get(where[-2:-1], '')}"


_OTHERS: dict[Path, str] = {
    ("signals",): (
        "; no package installed here gives another (entry point vlcorpus.filters): install the one that does, "
        "which the manifest of a corpus built with it names"
    ),
    ("rules",): "; the rules of an installed filter go with its name under signals",
}
"""Blocks that take what packages of others give."""


def _fields(model: type[BaseModel], where: Path) -> list[str]:
    """The names of the fields at a path below `model`; indexes of lists and keys of maps are passed over."""
    for part in where:
        if part in model.model_fields:
            inner = _model_in(model.model_fields[str(part)].annotation)
        elif model.model_config.get("extra") == "allow":
            inner = _model_in(model.__annotations__["__pydantic_extra__"])
        else:
            continue
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)
