"""OCR-VQA: dataset.json, an object of book covers by id with parallel lists of questions and answers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import vqa_draft
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import mapped

_SPLITS: Final = {1: "train", 2: "val", 3: "test"}


def records(covers: object, where: str = "dataset.json") -> Iterator[Record]:
    """One record a question, named ID-N by its cover and its place."""
    for member, cover in mapped(covers, where).items():
        questions = cover.get("questions") if isinstance(cover, Mapping) else None
        answers = cover.get("answers") if isinstance(cover, Mapping) else None
        if not isinstance(questions, list) or not isinstance(answers, list):
            yield Record(member, {}, Refusal("bad_record", "the cover has no lists of questions and answers"))
            continue
        for number in range(max(len(questions), len(answers))):
            own = {
                "cover": cover,
                "id": member,
                "question": questions[number] if number < len(questions) else None,
                "answer": answers[number] if number < len(answers) else None,
            }
            yield Record(f"{member}-{number}", own)


def build(records: Iterable[Record]) -> Iterator[Built]:
    """For each question a sample."""
    return outcomes(records, _make)


def _make(value: Mapping[str, Any]) -> Made:
    if value["question"] is None:
        raise Refused("no_question", "the cover has more answers than questions")
    if value["answer"] is None:
        raise Refused("unanswered", "the cover has more questions than answers")
    cover = value["cover"]
    # the published download script names files by id, with the suffix of the address
    address = str(cover.get("imageURL", ""))
    dot = address.rfind(".")
    suffix = address[dot:] if dot > address.rfind("/") and 1 < len(address) - dot <= 5 else ".jpg"
    split = _SPLITS.get(cover.get("split"), "")
    return [vqa_draft(Picture(value["id"] + suffix), value["question"], value["answer"], split)], []
