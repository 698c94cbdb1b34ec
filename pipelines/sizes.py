"""How much there is to train on: views, images, characters, and tokens by the recipe's tokenizer.

A view has the tokens that the loader gives it: the stage-2 templates, a tag as one token, an image as the preset's
queries between two tags. A view that fits no template is never drawn and has none.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from model.config import preset
from model.tokenizer import TagTokenizer, counting
from pipelines.engines.step import Json
from pipelines.layout import Name
from pipelines.recipe.model import Recipe
from schemas.errors import RecipeError
from schemas.manifest import Size
from schemas.markup import MarkupError, render
from schemas.sample import Example, ImageRef

_NAME: Final = ("split", "task", "source")
_FILES: Final = ("tokenizer.json", "tokenizer_layout.json")


class Sizer:
    """Counts examples by the tokenizer and preset of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self._tokenizer = tokenizer_of(recipe)
        self._image = image_tokens(recipe)

    def sizes(self, examples: Iterable[Example]) -> list[Json]:
        """Returns what the examples of each (split, task, source) come to, as `totals` takes it."""
        found: dict[tuple[str, str, str], Counter[str]] = {}
        for one in examples:
            size = found.setdefault((one.split, one.task, one.source), Counter())
            images = sum(isinstance(segment, ImageRef) for segment in one.segments)
            size.update(views=1, images=images, characters=len(one.text))
            if self._tokenizer is not None:
                size.update(tokens=_tokens(one, self._tokenizer, self._image))
        return [{**dict(zip(_NAME, name, strict=True)), **size} for name, size in sorted(found.items())]


def totals(composed: Mapping[Name, Json]) -> tuple[Size, ...]:
    """Returns what each (split, task, source) comes to, from compose's receipts, sorted."""
    found: dict[tuple[str, ...], Counter[str]] = {}
    for receipt in composed.values():
        for one in receipt["sizes"]:
            sums = found.setdefault(tuple(one[part] for part in _NAME), Counter())
            for key, value in one.items():
                if key not in _NAME:
                    sums[key] += value
    return tuple(Size(**dict(zip(_NAME, name, strict=True)), **size) for name, size in sorted(found.items()))


def image_tokens(recipe: Recipe) -> int:
    """Returns the tokens of an image by the recipe's preset: its queries between two tags."""
    return preset(recipe.preset).adapter.queries + 2


def _tokens(example: Example, tokenizer: TagTokenizer, image: int) -> int:
    try:
        pieces = render(example).pieces
    except MarkupError:
        return 0
    alone = {"tag": 1, "image": image}
    return sum(len(tokenizer.encode(one.text)) if one.kind == "text" else alone[one.kind] for one in pieces)


def tokenizer_of(recipe: Recipe) -> TagTokenizer | None:
    """Returns the recipe's tokenizer, None where it names none; raises RecipeError where there is none to read."""
    return None if recipe.tokenizer is None else _opened(*_stamped(recipe.tokenizer))[0]


def name_of(recipe: Recipe) -> str:
    """Returns what the recipe's tokenizer is, wherever it lies: its number of tokens and its digest; else nothing."""
    return "" if recipe.tokenizer is None else _opened(*_stamped(recipe.tokenizer))[1]


def _stamped(path: str) -> tuple[str, tuple[tuple[str, int, int], ...]]:
    """Returns the path, and the files there with size and time, so that a changed one is read again."""
    found = [Path(path)] if Path(path).is_file() else [Path(path, name) for name in _FILES]
    facts = [(file, file.stat()) for file in found if file.is_file()]
    return path, tuple((str(file), one.st_size, one.st_mtime_ns) for file, one in facts)


@lru_cache(4)
def _opened(path: str, stamps: tuple[tuple[str, int, int], ...]) -> tuple[TagTokenizer, str]:
    tokenizer = counting(Path(path))
    state = hashlib.sha256()
    for file, _, _ in stamps:
        data = Path(file).read_bytes()
        state.update(len(data).to_bytes(8, "little") + data)
    return tokenizer, f"{tokenizer.size:,} tokens, sha256 {state.hexdigest()}"


def check(recipe: Recipe) -> None:
    """Raises RecipeError where the recipe names a tokenizer that cannot be read."""
    try:
        tokenizer_of(recipe)
    except OSError as error:
        raise RecipeError(f"tokenizer: {recipe.tokenizer} cannot be read: {error.strerror}") from error
