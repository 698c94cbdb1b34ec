"""AI2D: questions/NAME.json, one a diagram, with questions, four answers each and the right one's place.

A question with `abcLabel` is about letters that replace the diagram's words: its picture lies in abc_images.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import named, vqa_draft
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import mapped


def records(diagram: object, where: str = "AI2D's file") -> Iterator[Record]:
    """One record a question of one diagram, named by its questionId."""
    value = mapped(diagram, where)
    questions = mapped(value.get("questions"), where)
    for number, (question, own) in enumerate(questions.items()):
        if not isinstance(own, Mapping):
            member = f"{value.get('imageName')}-{number}"
            yield Record(member, {}, Refusal("bad_record", "the question is no JSON object"))
            continue
        member = str(own.get("questionId", f"{value.get('imageName')}-{number}"))
        yield Record(member, {**own, "question": question, "image": value.get("imageName")})


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample with the words of the right answer."""
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    folder = "abc_images" if value.get("abcLabel") else "images"
    picture = Picture(f"{folder}/{named(value.get('image'))}")
    right, answers = value["correctAnswer"], value["answerTexts"]
    if not 0 <= right < len(answers):
        raise Refused("unanswered", f"the right answer is number {right} of {len(answers)}")
    return [vqa_draft(picture, value.get("question"), answers[right])], []
