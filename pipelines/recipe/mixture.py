"""Which strata a recipe's mixture can name: the tasks that the training sources can have samples of."""

from collections.abc import Iterator, Sequence

from pipelines.groups import tasks_of
from pipelines.recipe.model import Recipe
from schemas.errors import nearest
from schemas.mixture import matching
from schemas.sample import TASKS
from schemas.strict import FieldError

Where = tuple[str | int, ...]


def strata(recipe: Recipe) -> list[str]:
    """Returns TASK/SOURCE of each stratum that the recipe's training sources can have."""
    return [
        f"{task}/{source.id}"
        for source in recipe.sources
        if source.role == "train"
        for task in sorted(tasks_of(recipe, source))
    ]


def problems(recipe: Recipe) -> Iterator[tuple[Where, str]]:
    """Yields what is wrong with each pattern of the mixture that no stratum of the recipe can match."""
    there = strata(recipe)
    for text in recipe.mixture:
        if not matching([text], there):
            yield ("mixture", text), _why(recipe, text, there)
    try:
        matching(recipe.mixture, there)
    except FieldError as error:
        yield ("mixture",), str(error)


def _why(recipe: Recipe, text: str, there: Sequence[str]) -> str:
    """Returns why a pattern matches nothing, and what it could have named."""
    task, source = text.split("/")
    ids = [one.id for one in recipe.sources]
    if not _is_glob(task) and task not in TASKS:
        return f"there is no task {task!r}; {nearest(task, TASKS)}tasks are {', '.join(TASKS)}"
    if not _is_glob(task) and task not in recipe.tasks:
        return f"tasks leaves out {task}; it lists {', '.join(recipe.tasks)}"
    if not _is_glob(source) and source not in ids:
        return f"there is no source {source!r}; {nearest(source, ids)}sources are {', '.join(ids)}"
    if not _is_glob(source) and recipe.source(source).role == "eval":
        return f"source {source!r} is an evaluation set, which no training draws from; take it out"
    return f"it matches no samples that this recipe can make: there can be {', '.join(there) or 'none'}"


def _is_glob(text: str) -> bool:
    return bool(set(text) & set("*?["))
