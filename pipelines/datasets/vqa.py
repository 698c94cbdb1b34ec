"""Question sets as published: AI2D, ChartQA, DocVQA, DVQA, GQA, OCR-VQA, TextVQA and VQAv2; a sample a question."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Any, Final

from pipelines.datasets.dataset import Dataset, Files, Glimpse, Made, Record, having
from pipelines.datasets.drafts import About, NamedImage, label, named, text_or_none, vqa_draft, with_about
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import by_id, document, each, entries, joined, listed, mapped

_CONFIDENCE: Final = {"yes": 2, "maybe": 1, "no": 0}
_OCRVQA_SPLITS: Final = {1: "train", 2: "val", 3: "test"}


def most_confident(answers: Iterable[Mapping[str, Any]]) -> str:
    """Returns the answer with the most confidence: each annotator's yes counts two, maybe one, no nothing.

    Ties go to the first in the alphabet. Where nobody is confident each annotator counts one.
    """
    given = [(one["answer"], _CONFIDENCE.get(one.get("answer_confidence", "yes"), 0)) for one in answers]
    weighted: Counter[str] = Counter()
    for answer, weight in given:
        if answer.strip():
            weighted[answer.strip()] += weight
    return _best(weighted) if any(weighted.values()) else most_frequent(answer for answer, _ in given)


def most_frequent(answers: Iterable[str]) -> str:
    """Returns the answer that most annotators gave; ties go to the first in the alphabet."""
    return _best(Counter(answer.strip() for answer in answers if answer.strip()))


def _best(counted: Counter[str]) -> str:
    if not counted:
        raise Refused("empty_answer")
    return min(counted, key=lambda answer: (-counted[answer], answer))


def _first(answers: Iterable[str]) -> str:
    """Returns the first answer with words, where the list holds spellings of one answer."""
    found = next((answer.strip() for answer in answers if answer.strip()), None)
    if found is None:
        raise Refused("empty_answer")
    return found


def _answers(value: Mapping[str, Any]) -> Any:
    if "answers" not in value:
        raise Refused("unanswered", "a question of the test set")
    return value["answers"]


def _sample(
    image: str, question: object, answer: object, split: str = "", answers: Iterable[str] = ()
) -> Made:
    """Returns the question with its answer; `answers` are those of all annotators, which the view keeps."""
    draft = vqa_draft(NamedImage(image), question, answer, split)
    given = [text for one in answers if (text := text_or_none(one))]
    return with_about([draft], About(extra={"answers": given})) if given else [draft], []


def _chartqa(value: Mapping[str, Any]) -> Made:
    return _sample(named(value.get("imgname")), value.get("query"), value.get("label"))


def _dvqa(value: Mapping[str, Any]) -> Made:
    return _sample(named(value.get("image")), value.get("question"), value.get("answer"))


def _docvqa(value: Mapping[str, Any]) -> Made:
    image, split = named(value.get("image")), label(value.get("data_split"))
    answers = list(_answers(value))
    return _sample(image, value.get("question"), _first(answers), split, answers)


def _textvqa(value: Mapping[str, Any]) -> Made:
    # the sizes that the file states are those of another scaling of the images, so they are not used
    image, split = named(value.get("image_id")) + ".jpg", label(value.get("set_name"))
    answers = list(_answers(value))
    return _sample(image, value.get("question"), most_frequent(answers), split, answers)


def _gqa(value: Mapping[str, Any]) -> Made:
    if "answer" not in value:
        raise Refused("unanswered")
    return _sample(f"{value['imageId']}.jpg", value.get("question"), value["answer"])


def _gqa_records(files: Files) -> Iterator[Record]:
    with document(files) as found:
        for member, value in mapped(found.value, "records").items():
            yield _question(member, value)


def _question(member: str, value: Any) -> Record:
    if isinstance(value, Mapping):
        return Record(member, value)
    return Record(member, {}, Refusal("bad_record", "the question is no JSON object"))


def _ai2d(value: Mapping[str, Any]) -> Made:
    # a question with abcLabel is about letters that replace the diagram's words: its image lies in abc_images
    folder = "abc_images" if value.get("abcLabel") else "images"
    image = f"{folder}/{named(value.get('image'))}"
    right, answers = value["correctAnswer"], value["answerTexts"]
    if not 0 <= right < len(answers):
        raise Refused("unanswered", f"the right answer is number {right} of {len(answers)}")
    return _sample(image, value.get("question"), answers[right])


def _ai2d_records(files: Files) -> Iterator[Record]:
    """Returns one record a question of the file's one diagram, named by its questionId."""
    with document(files) as found:
        diagram = mapped(found.value, "records")
        for number, (question, own) in enumerate(mapped(diagram.get("questions"), "records").items()):
            record = _question(f"{diagram.get('imageName')}-{number}", own)
            value = {**record.value, "question": question, "image": diagram.get("imageName")}
            yield record._replace(member=str(record.value.get("questionId", record.member)), value=value)


def _ocrvqa(value: Mapping[str, Any]) -> Made:
    if value["question"] is None:
        raise Refused("no_question", "the cover has more answers than questions")
    if value["answer"] is None:
        raise Refused("unanswered", "the cover has more questions than answers")
    cover = value["cover"]
    # the published download script names files by id, with the suffix of the address
    address = str(cover.get("imageURL", ""))
    dot = address.rfind(".")
    suffix = address[dot:] if dot > address.rfind("/") and 1 < len(address) - dot <= 5 else ".jpg"
    split = _OCRVQA_SPLITS.get(cover.get("split"), "")
    return _sample(value["id"] + suffix, value["question"], value["answer"], split)


def _ocrvqa_records(files: Files) -> Iterator[Record]:
    """Returns one record a question, named ID-N by its book cover and its place in the cover's parallel lists."""
    with document(files) as found:
        for member, cover in mapped(found.value, "records").items():
            yield from _questions_of(member, cover)


def _questions_of(member: str, cover: Any) -> Iterator[Record]:
    questions = cover.get("questions") if isinstance(cover, Mapping) else None
    answers = cover.get("answers") if isinstance(cover, Mapping) else None
    if not isinstance(questions, list) or not isinstance(answers, list):
        yield Record(member, {}, Refusal("bad_record", "the cover has no lists of questions and answers"))
        return
    for number, (question, answer) in enumerate(zip_longest(questions, answers)):
        own = {"cover": cover, "id": member, "question": question, "answer": answer}
        yield Record(f"{member}-{number}", own)


def _vqav2(value: Mapping[str, Any]) -> Made:
    question, annotation = value["question"], value["annotation"]
    if annotation is None:
        raise Refused("unanswered")
    image = f"COCO_{value['subset'] or 'train2014'}_{int(question['image_id']):012d}.jpg"
    given = annotation["answers"]
    answers = [one["answer"] for one in given]
    return _sample(image, question.get("question"), most_confident(given), answers=answers)


def _vqav2_records(files: Files) -> Iterator[Record]:
    """Returns one record a question, named by its question_id, with its answers; then answers of no question."""
    with document(files, "questions") as questions, document(files, "annotations") as annotations:
        if (
            questions.damage is not None and "data_subtype" not in questions.value
        ):  # it is a part of images' names
            raise questions.damage
        yield from _answered(questions.value, annotations.value)


def _answered(questions: Any, annotations: Any) -> Iterator[Record]:
    answers = by_id(listed(annotations, "annotations", "annotations"), "question_id")
    subset = questions.get("data_subtype") if isinstance(questions, Mapping) else None
    asked = set()
    for record in each(listed(questions, "questions", "questions"), "question_id"):
        own = record.value.get("question_id")
        if isinstance(own, int | str):
            asked.add(own)
        value = {"question": record.value, "annotation": joined(answers, own), "subset": subset}
        yield record._replace(value=value)
    for number in answers:
        if number not in asked:
            refusal = Refusal("no_question", f"question {number!r} is not there")
            yield Record(f"annotation-{number}", {}, refusal)


def vqa(
    published: str,
    make: Callable[[Mapping[str, Any]], Made],
    records: Callable[[Files], Iterator[Record]],
    recognised: Callable[[Glimpse], float],
    parts: tuple[str, ...] = ("records",),
) -> Dataset:
    """Returns a dataset whose records are questions with one answer each."""
    return Dataset(
        *(published, "a question", ("vqa",), make, records), parts=parts, recognised=recognised, named=True
    )


def _fits_vqav2(seen: Glimpse) -> float:
    """Returns how well a file fits VQAv2's questions, or its answers."""
    shared = having("question_id", "image_id")(seen) if seen.form != "list" else 0.0
    parts = ({"questions", "question"}, {"annotations", "answers"})
    return shared + 2 if shared and any(seen.fields >= part for part in parts) else 0.0


AI2D: Final = replace(
    vqa(
        *("questions/NAME.json, one a diagram", _ai2d, _ai2d_records),
        having("imageName", "questions", "answerTexts", "correctAnswer"),
    ),
    many=("*.json",),
)
CHARTQA: Final = vqa(
    "train_human.json, train_augmented.json, …", _chartqa, entries(), having("imgname", "query", "label")
)
DOCVQA: Final = vqa(
    "train_v1.0.json, …",
    _docvqa,
    entries("data", ids=("questionId",)),
    having("data", "questionId", "image", "question", "answers"),
)
DVQA: Final = vqa(
    "train_qa.json, … (bar charts)",
    _dvqa,
    entries(ids=("question_id",)),
    having("question_id", "image", "question", "answer"),
)
GQA: Final = vqa("*_questions.json", _gqa, _gqa_records, having("imageId", "question", "answer"))
OCRVQA: Final = vqa("dataset.json (book covers)", _ocrvqa, _ocrvqa_records, having("questions", "answers"))
TEXTVQA: Final = vqa(
    "TextVQA_0.5.1_*.json",
    _textvqa,
    entries("data", ids=("question_id",)),
    having("data", "question_id", "image_id", "question", "answers"),
)
VQAV2: Final = vqa(
    "v2_OpenEnded_mscoco_*_questions.json, v2_mscoco_*_annotations.json",
    _vqav2,
    _vqav2_records,
    _fits_vqav2,
    ("questions", "annotations"),
)
