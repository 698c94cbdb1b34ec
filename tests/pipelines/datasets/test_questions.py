"""The question sets: VQAv2, GQA, VGQA, OCR-VQA, DocVQA, TextVQA, ChartQA, DVQA, AI2D."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.dataset import Built
from pipelines.datasets.table import DATASETS
from pipelines.datasets.vqa import AI2D, OCRVQA, VQAV2, most_confident, most_frequent
from schemas.errors import ShardError
from tests.pipelines.datasets.common import as_sample, one, read, reason, said

QUESTION = {"question_id": 7, "image_id": 42, "question": "What colour? "}


def answer(text: str, confidence: str = "yes") -> dict[str, str]:
    return {"answer": text, "answer_confidence": confidence}


def built_from(name: str, question: Any = "What colour?", reply: Any = "red") -> list[Built]:
    """The outcomes of a file of one question as the data set publishes it."""
    row = {
        "question_id": 7,
        "questionId": 7,
        "question": question,
        "query": question,
        "qa_id": 7,
        "imageId": "42",
    }
    row |= {"image": "42.png", "imgname": "42.png", "image_id": "42", "answer": reply, "label": reply}
    row |= {"answers": [reply] * 3} if isinstance(reply, str) else {}
    answers = [answer(reply)] if isinstance(reply, str) else []
    asked = {"questions": [QUESTION | {"question": question}], "data_subtype": "val2014"}
    cover = {"imageURL": "https://x/y.png", "questions": [question], "answers": [reply], "split": 2}
    own = {"questionId": "42.png-0", "answerTexts": ["blue", reply], "correctAnswer": 1, "abcLabel": False}
    files: dict[str, dict[str, Any]] = {
        "gqa": {"records": {"7": row}},
        "vgqa": {"questions": [{"id": 42, "qas": [row]}], "images": []},
        "ocrvqa": {"records": {"42": cover}},
        "docvqa": {"records": {"data": [row]}},
        "textvqa": {"records": {"data": [row]}},
        "chartqa": {"records": [row]},
        "dvqa": {"records": [row]},
        "ai2d": {"records": {"imageName": "42.png", "questions": {question: own}}},
        "vqav2": {
            "questions": asked,
            "annotations": {"annotations": [{"question_id": 7, "answers": answers}]},
        },
    }
    return read(DATASETS[name], **files[name])


SETS = {
    "gqa": ("7", "42.jpg"),
    "vgqa": ("7", "42.jpg"),
    "ocrvqa": ("42-0", "42.png"),
    "docvqa": ("7", "42.png"),
    "textvqa": ("7", "42.jpg"),
    "chartqa": ("record-0", "42.png"),
    "dvqa": ("7", "42.png"),
    "ai2d": ("42.png-0", "images/42.png"),
    "vqav2": ("7", "COCO_val2014_000000000042.jpg"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_question_becomes_a_sample(name: str) -> None:
    """Each set's own file gives the question, its one answer, the picture's name and the row's id."""
    built = one(built_from(name))
    member, picture = SETS[name]
    assert (built.member, built.drafts[0].images[0].name) == (member, picture)
    assert said(built.drafts[0]) == [("document", "<image>What colour?red")]
    assert as_sample(built.drafts[0]).task == "vqa"


@pytest.mark.parametrize("name", SETS)
def test_words_must_be_there(name: str) -> None:
    """An empty question and an empty answer have reasons of their own."""
    assert reason(built_from(name, question=" ")) == "empty_question"
    assert reason(built_from(name, reply=" ")) == "empty_answer"


@pytest.mark.parametrize("name", SETS)
def test_halves_of_characters_are_refused(name: str) -> None:
    """A text that UTF-8 cannot write never reaches a shard."""
    assert reason(built_from(name, reply="\ud800")) == "bad_record"


@pytest.mark.parametrize("name", ["gqa", "docvqa", "textvqa"])
def test_test_sets_are_unanswered(name: str) -> None:
    """A row without the field of answers is of a test set."""
    row = {"question": "x", "image": "a", "image_id": "a", "imageId": "a", "question_id": 1, "questionId": 1}
    data = {"1": row} if name == "gqa" else {"data": [row]}
    assert reason(read(DATASETS[name], records=data)) == "unanswered"


def test_questions_and_answers_without_their_other_half() -> None:
    """VQAv2's two files and OCR-VQA's two lists need not match: each orphan is an outcome."""
    answers = {"annotations": [{"question_id": 8, "answers": [answer("x")]}]}
    built = read(VQAV2, questions={"questions": [QUESTION]}, annotations=answers)
    assert [(b.member, b.refusal and b.refusal.reason) for b in built] == [
        ("7", "unanswered"),
        ("annotation-8", "no_question"),
    ]
    covers = {
        "1": {"questions": ["a", "b"], "answers": ["x"]},
        "2": {"questions": [], "answers": ["x"]},
        "3": 4,
    }
    rows = read(OCRVQA, records=covers)
    assert [(b.member, b.refusal and b.refusal.reason) for b in rows] == [
        ("1-0", None),
        ("1-1", "unanswered"),
        ("2-0", "no_question"),
        ("3", "bad_record"),
    ]


def test_letters_need_the_lettered_picture() -> None:
    """AI2D's questions about letters are about pictures in which letters stand for words."""
    own = {"questionId": "1", "answerTexts": ["a", "b"], "correctAnswer": 1, "abcLabel": True}
    diagram = {
        "imageName": "0.png",
        "questions": {"Which?": own, "And?": own | {"correctAnswer": 5, "questionId": "2"}, "X": 3},
    }
    first, second, third = read(AI2D, records=diagram)
    assert first.drafts[0].images[0].name == "abc_images/0.png"
    assert second.refusal is not None and second.refusal.reason == "unanswered"  # noqa: PT018
    assert (third.member, third.refusal and third.refusal.reason) == ("0.png-2", "bad_record")


@pytest.mark.parametrize(
    ("answers", "best"),
    [
        ([answer("red"), answer("red"), answer("blue")], "red"),
        (
            [
                answer("red", "maybe"),
                answer("red", "maybe"),
                answer("red", "maybe"),
                answer("blue"),
                answer("blue"),
            ],
            "blue",
        ),
        ([answer("red"), answer("blue", "maybe"), answer("blue", "maybe")], "blue"),
        ([answer("b", "no"), answer("b", "no"), answer("a", "no")], "b"),
        ([answer(" "), answer("x", "no")], "x"),
    ],
)
def test_the_most_confident_answer_wins_and_ties_are_alphabetical(answers: list[Any], best: str) -> None:
    """Yes counts two, maybe one, no nothing."""
    assert most_confident(answers) == best


@settings(deadline=None)
@given(st.permutations(["b", "a", "b", "a", "c"]))
def test_the_order_of_annotators_does_not_matter(answers: list[str]) -> None:
    """The choice depends on counts and letters alone."""
    assert most_frequent(answers) == "a"
    assert most_confident([answer(text) for text in answers]) == "a"


@pytest.mark.parametrize(
    ("name", "value"), [("gqa", []), ("ocrvqa", []), ("docvqa", {}), ("chartqa", {}), ("dvqa", 3)]
)
def test_another_file_is_a_sentence(name: str, value: Any) -> None:
    """A file of another shape is an error that says what it lacks."""
    with pytest.raises(ShardError, match=r"^records (has no list at|is no JSON object)"):
        read(DATASETS[name], records=value)
