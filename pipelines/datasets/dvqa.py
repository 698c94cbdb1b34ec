"""DVQA: train_qa.json and its like, lists of {question_id, image, question, answer, …} on bar charts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import named, vqa_draft
from pipelines.datasets.records import each, listed


def records(data: object, where: str = "DVQA's file") -> Iterator[Record]:
    """One record a question, named by its question_id."""
    return each(listed(data, where), "question_id")


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample."""
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    return [vqa_draft(Picture(named(value.get("image"))), value.get("question"), value.get("answer"))], []
