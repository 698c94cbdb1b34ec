"""VQAv2: v2_OpenEnded_mscoco_*_questions.json and v2_mscoco_*_annotations.json."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.answers import most_confident
from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import vqa_draft
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import by_id, each, listed


def records(questions: object, annotations: object) -> Iterator[Record]:
    """One record a question, named by its question_id, with its answers; then answers of no question."""
    answers = by_id(listed(annotations, "annotations.json", "annotations"), "question_id")
    where = "questions.json"
    subset = questions.get("data_subtype") if isinstance(questions, Mapping) else None
    asked = set()
    for record in each(listed(questions, where, "questions"), "question_id"):
        own = record.value.get("question_id")
        own = own if isinstance(own, int | str) else None
        asked.add(own)
        joined = {"question": record.value, "annotation": answers.get(own), "subset": subset}
        yield record._replace(value=joined)
    for number in answers:
        if number not in asked:
            yield Record(
                f"annotation-{number}", {}, Refusal("no_question", f"question {number!r} is not there")
            )


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample with the answer of most confidence."""
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    question, annotation = value["question"], value["annotation"]
    if annotation is None:
        raise Refused("unanswered")
    subset = value["subset"] or "train2014"
    picture = Picture(f"COCO_{subset}_{int(question['image_id']):012d}.jpg")
    answer = most_confident(annotation["answers"])
    return [vqa_draft(picture, question.get("question"), answer)], []
