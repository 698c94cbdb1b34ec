"""TextVQA: TextVQA_0.5.1_*.json, {"data": [{question_id, question, image_id, answers, …}]}."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.answers import most_frequent
from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import label, named, vqa_draft
from pipelines.datasets.reasons import Refused
from pipelines.datasets.records import each, listed


def records(data: object, where: str = "TextVQA's file") -> Iterator[Record]:
    """One record a question, named by its question_id."""
    return each(listed(data, where, "data"), "question_id")


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample with the answer that most annotators gave.

    The sizes that the file states are those of another scaling of the pictures, so they are not used.
    """
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    picture = Picture(named(value.get("image_id")) + ".jpg")
    if "answers" not in value:
        raise Refused("unanswered", "a question of the test set")
    split = label(value.get("set_name"))
    return [vqa_draft(picture, value.get("question"), most_frequent(value["answers"]), split)], []
