"""Where recipes come from: a file, or the defaults with inputs from the command line."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filters.clip.source import LOCAL
from pipelines.files import absolute
from pipelines.known_names import unknown_names
from schemas.clip import ScorerSettings
from schemas.errors import RecipeError
from schemas.recipe import Recipe, RenderSettings, Source
from schemas.recipe_file import MAX_BYTES, from_record, parse
from schemas.recipe_file import storage_options as options_of

Given = str | Path | Mapping[str, Any] | Recipe | Sequence[str | Path]
"""What stands for a recipe: a YAML file, a mapping, a recipe, or inputs that the default recipe reads."""


def load(given: Given, extra: dict[str, Any] | None = None, kind: str = "auto") -> Recipe:
    """Returns the recipe that `given` stands for; `extra` are top-level keys that stand above its own.

    `kind` is that of inputs. Raises RecipeError where the recipe is wrong.
    """
    if isinstance(given, Recipe):
        return from_record(given.to_json(), "the recipe", extra, unknown_names)
    if isinstance(given, Mapping):
        return from_record(_plain(given), "the recipe", extra, unknown_names)
    if not isinstance(given, str | Path | Sequence):
        raise RecipeError(
            f"a recipe is the path of a YAML file, a mapping, a Recipe, or inputs, not a {type(given).__name__}"
        )
    inputs = [os.fspath(one) for one in ([given] if isinstance(given, str | Path) else given)]
    if len(inputs) == 1 and inputs[0].endswith((".yaml", ".yml")):
        return from_file(inputs[0], extra)
    return for_inputs(inputs, kind, extra)


def _plain(record: Mapping[str, Any]) -> Any:
    """Returns the mapping as JSON has it: paths as text, tuples as lists."""
    try:
        return json.loads(json.dumps(dict(record), default=os.fspath))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"the recipe holds a value that JSON does not know: {error}") from error


def from_file(path: str, extra: dict[str, Any] | None = None) -> Recipe:
    """The recipe in a YAML file; `extra` are top-level keys that stand above the file's."""
    return parse(_text(path, "recipe"), path, extra, unknown_names)


def storage_options(path: str | None) -> dict[str, Any]:
    """Returns the storage options in a YAML or JSON file; none where no file is given. Raises RecipeError."""
    return {} if path is None else options_of(_text(path, "file of storage options"), path)


def _text(path: str, what: str) -> str:
    """The text of a small file; RecipeError where it cannot be read, is too large or is not UTF-8."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(
            f"cannot read the {what} {path}: {(error.strerror or 'no access').lower()}"
        ) from error
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{path}: a {what} of more than {MAX_BYTES:,} bytes is not read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # its text may hold a part of the file
        raise RecipeError(f"{path}: a {what} is UTF-8 text, this is not") from None


def for_inputs(inputs: Sequence[str], kind: str, extra: dict[str, Any] | None = None) -> Recipe:
    """The default recipe over the inputs given on the command line, as one source called `input`."""
    source = {"id": "input", "path": list(inputs), "kind": kind}
    return from_file(str(default_path()), {**(extra or {}), "sources": [source]})


def for_pages(extra: dict[str, Any], render: dict[str, Any], form: str = "ocr") -> Recipe:
    """A recipe of one source that makes pages of text, or scenes with words (`form` scene_text)."""
    source = {
        "id": "pages",
        "kind": "rendered",
        "format": form,
        "origin": "text with its places, drawn by vlcorpus synth ocr",
        "licence": "CC0-1.0",
        # so many pages as are asked for, of whatever shape
        "rules": {"aspect_ratio": False, "min_side": False, "blank": False},
        "render": {name: value for name, value in render.items() if value},
    }
    record = {"name": "ocr", "tasks": ["ocr"], "sources": [source], **extra}
    return parse(json.dumps(record), "vlcorpus synth ocr", check=unknown_names)


def rooted(recipe: Recipe) -> Recipe:
    """The recipe with the local paths of its input from the root: a worker may run in another folder."""

    def of(source: Source) -> Source:
        paths: dict[str, Any] = {
            "path": tuple(absolute(path) for path in source.path),
            "files": {part: absolute(path) for part, path in source.files.items()},
            "images": None if source.images is None else absolute(source.images),
        }
        if source.kind == "rendered":
            paths["render"] = _rooted_render(source.render)
        return source.model_copy(update={name: path for name, path in paths.items() if getattr(source, name)})

    changes: dict[str, Any] = {"sources": tuple(of(source) for source in recipe.sources)}
    if recipe.clip is not None:
        scorers = {code: _rooted_scorer(one) for code, one in recipe.clip.scorers.items()}
        changes["clip"] = recipe.clip.model_copy(update={"scorers": scorers})
    return recipe.model_copy(update=changes)


def _rooted_scorer(scorer: ScorerSettings) -> ScorerSettings:
    folder = scorer.model.removeprefix(LOCAL)
    if folder != scorer.model:
        return scorer.model_copy(update={"model": f"{LOCAL}{absolute(folder)}"})
    if scorer.pretrained is not None and Path(scorer.pretrained).is_file():
        return scorer.model_copy(update={"pretrained": absolute(scorer.pretrained)})
    return scorer


def _rooted_render(render: RenderSettings) -> RenderSettings:
    paths: dict[str, Any] = {
        "fonts": None if render.fonts is None else absolute(render.fonts),
        "models": None if render.models is None else absolute(render.models),
        "texts": tuple(absolute(path) for path in render.texts),
        "pictures": tuple(absolute(path) for path in render.pictures),
    }
    return render.model_copy(update={name: path for name, path in paths.items() if path})


def default_path() -> Path:
    """recipes/default.yaml: inside the package where it is installed, beside it in a checkout."""
    here = Path(__file__).parent
    installed = here / "recipes" / "default.yaml"
    return installed if installed.exists() else here.parent / "recipes" / "default.yaml"
