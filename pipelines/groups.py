"""Which tasks the views of a source can have, and the group of shards that its samples go to.

Both are decided from the recipe, never from the rows that came: a part of a source has the same folders as the whole.
"""

from pipelines.datasets import table as datasets
from pipelines.generators import table as generators
from pipelines.recipe.model import Recipe, Source
from pipelines.sources.table import KINDS
from schemas.sample import GROUNDED, Example


def stands_alone(example: Example) -> bool:
    """Returns whether a view has a sample of its own: one with several images or none, or an interleaved page."""
    return len(example.images) != 1 or example.task == "interleaved"


def tasks_of(recipe: Recipe, source: Source) -> frozenset[str]:
    """Returns the tasks of the recipe that views of the source can have."""
    kind = KINDS[source.kind]
    if kind.made:
        made_by = generators.lookup(str(source.format))[0]
        found = {*made_by.tasks(source.render)}
    elif kind.annotated:
        found = {task for one in source.sets for task in datasets.find(one.format)[0].tasks}
    elif kind.images:
        several = {"interleaved", "chat"} if source.keeps_several else set()
        found = {"caption", "text", *several, *(GROUNDED if source.ground is not None else ())}
    else:
        found = {"text"}
    dialogues = recipe.chat_of(source)
    if (dialogues.localise and found & {*GROUNDED}) or (dialogues.join > 1 and "chat" in found):
        found = found | {"chat"}
    return frozenset(found & {*recipe.tasks})


def group_of(recipe: Recipe, source: Source, example: Example) -> str:
    """Returns the group of the sample that a view of the source belongs to.

    That of a sample of its own is its task; so is that of any other where the source has views of one task alone on
    one image. Else it is the group that the source names.
    """
    if stands_alone(example):
        return example.task
    possible = tasks_of(recipe, source) - {"text", "interleaved"}
    if KINDS[source.kind].pairs and not recipe.chat_of(source).localise:
        possible -= {"chat"}  # those of pairs that were read show several images
    return next(iter(possible)) if len(possible) == 1 else source.group
