"""GQA: *_questions.json, an object of questions by id."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import vqa_draft
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import mapped


def records(questions: object, where: str = "questions.json") -> Iterator[Record]:
    """One record a question, named by its id."""
    for member, value in mapped(questions, where).items():
        if isinstance(value, Mapping):
            yield Record(member, value)
        else:
            yield Record(member, {}, Refusal("bad_record", "the question is no JSON object"))


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample with its short answer."""
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    if "answer" not in value:
        raise Refused("unanswered")
    picture = Picture(f"{value['imageId']}.jpg")
    return [vqa_draft(picture, value.get("question"), value["answer"])], []
