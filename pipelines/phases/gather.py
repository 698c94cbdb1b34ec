"""Views become samples: those of one image in one, with where its bytes are and what was measured of its row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.groups import stands_alone
from pipelines.phases.dialogues import Made, Place, row_key
from schemas.sample import Example, Sample, image_key, joined


class Gathered(NamedTuple):
    """A sample, the places of its images, and what was measured of its rows where all are alike."""

    sample: Sample
    places: tuple[Place, ...]
    facts: dict[str, Any]


def gathered(made: Iterable[Made], by_image: bool) -> list[Gathered]:
    """Returns the samples of the views `made`, the same in any order of them.

    A view that stands alone is a sample by its own key. Any other belongs to the sample of its row; with `by_image` to
    that of its image, whose key goes by source and original bytes.
    """
    groups: dict[tuple[str, str], list[Made]] = {}
    for one in made:
        name = (one.example.split, _key(one.example, by_image))
        groups.setdefault(name, []).append(one)
    return [_one(key, sorted(own, key=_order)) for (_, key), own in groups.items()]


def agreed(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what all `facts` agree on, None where they do not."""
    first = facts[0]
    return {
        name: value if all(one[name] == value for one in facts) else None for name, value in first.items()
    }


def _key(example: Example, by_image: bool) -> str:
    if stands_alone(example):
        return example.key
    return image_key(example.source, example.images[0].original_sha256) if by_image else row_key(example.key)


def _order(made: Made) -> str:
    return made.example.key


def _one(key: str, made: Sequence[Made]) -> Gathered:
    sample = joined([Sample.of(key, [one.example]) for one in made])
    return Gathered(sample, made[0].places, agreed([one.facts for one in made]))
