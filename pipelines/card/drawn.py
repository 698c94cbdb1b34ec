"""What an epoch draws by the recipe's mixture: checked against what came out, and told in the run and the card."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.engines.step import Json
from pipelines.layout import Name
from pipelines.recipe.model import Recipe
from pipelines.sizes import totals
from schemas.errors import InputError
from schemas.manifest import Size
from schemas.mixture import Portion, matching, shares
from schemas.strict import FieldError

if TYPE_CHECKING:
    from pipelines.build import Build

TRAIN = "train"
"""The split that a mixture is of."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One stratum: the views that are there, those that take part, and what an epoch draws on average.

    `tokens` is None where no tokenizer counted them.
    """

    name: str
    views: int
    part: int
    drawn: float
    characters: float
    tokens: float | None


def drawn(mixture: Mapping[str, Portion], sizes: Sequence[Size]) -> list[Drawn]:
    """Returns each stratum of the training split, those that are left out too; none without a mixture or a sample.

    Raises FieldError as `shares` does.
    """
    if not mixture or not sizes:
        return []
    there = {f"{one.task}/{one.source}": one for one in sizes if one.split == TRAIN and one.views}
    taken = shares(mixture, {name: one.views for name, one in there.items()})
    found = []
    for name, one in there.items():
        share = taken.get(name)
        part, times = (share.views, float(share.drawn)) if share else (0, 0.0)
        mean = times / one.views
        tokens = None if one.tokens is None else mean * one.tokens
        found.append(Drawn(name, one.views, part, times, mean * one.characters, tokens))
    return found


def held(mixture: Mapping[str, Portion], sizes: Sequence[Size]) -> dict[str, Portion]:
    """Returns the mixture without patterns that match no view of the training split; none where nothing would be drawn.

    A stratum whose last row was removed must not stop the corpus from being written.
    """
    names = [f"{one.task}/{one.source}" for one in sizes if one.split == TRAIN and one.views]
    found = {text: one for text, one in mixture.items() if matching([text], names)}
    some = any(not found[text].is_nothing for text in matching(found, names).values())
    return found if some else {}


def check(build: "Build") -> None:
    """Raises InputError where the recipe's mixture names what the corpus turned out to lack.

    Where rows were removed it is a warning.
    """
    if not build.recipe.mixture:
        return
    try:
        drawn(build.recipe.mixture, totals(build.results["compose"]))
    except FieldError as error:
        if build.removed:
            build.reporter.say(
                f"warning: mixture: {error}, and rows were removed: the manifest goes without it"
            )
            return
        raise InputError(
            f"mixture: {error} in the training split: take it out of the mixture, or see what became of its rows"
        ) from error


def draw_sentences(recipe: Recipe, composed: Mapping[Name, Json]) -> Iterator[str]:
    """Yields a line for the mixture and one for each of its strata: views and tokens of an epoch."""
    if not recipe.mixture:
        return
    sizes = totals(composed)
    found = drawn(held(recipe.mixture, sizes), sizes)
    every = sum(one.drawn for one in found)
    if found:
        yield f"mixture: an epoch draws {every:,.0f} views, {_amount(found)}"
    for one in found:
        if one.drawn:
            yield (
                f"mixture: {one.name}: {one.part:,} of {one.views:,} views take part, drawn {one.drawn:,.0f} times "
                f"({one.drawn / one.part:.2f} epochs, {one.drawn / every:.1%}), {_amount([one])}"
            )
        else:
            yield f"mixture: {one.name}: left out ({one.views:,} views)"


def _amount(of: Sequence[Drawn]) -> str:
    """Returns how much text strata come to in an epoch."""
    tokens = [one.tokens for one in of if one.tokens is not None]
    if len(tokens) == len(of):
        return f"{sum(tokens):,.0f} tokens"
    return f"{sum(one.characters for one in of):,.0f} characters"
