"""ChartQA: train_human.json, train_augmented.json and their like, lists of {imgname, query, label}."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import named, vqa_draft
from pipelines.datasets.records import each, listed


def records(data: object, where: str = "ChartQA's file") -> Iterator[Record]:
    """One record a question, named record-N: the file has no ids."""
    return each(listed(data, where))


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample."""
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    return [vqa_draft(Picture(named(value.get("imgname"))), value.get("query"), value.get("label"))], []
