"""DocVQA: train_v1.0.json and its like, {"data": [{questionId, question, image, answers, data_split}]}."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.answers import first
from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import label, named, vqa_draft
from pipelines.datasets.reasons import Refused
from pipelines.datasets.records import each, listed


def records(data: object, where: str = "DocVQA's file") -> Iterator[Record]:
    """One record a question, named by its questionId."""
    return each(listed(data, where, "data"), "questionId")


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample with the first spelling of its answer."""
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    picture = Picture(named(value.get("image")))
    if "answers" not in value:
        raise Refused("unanswered", "a question of the test set")
    split = label(value.get("data_split"))
    return [vqa_draft(picture, value.get("question"), first(value["answers"]), split)], []
