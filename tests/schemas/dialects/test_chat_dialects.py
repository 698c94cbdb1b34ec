"""Qwen-VL's finetune JSON and LLaVA's: both are dialogues."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dialects.dialogue import as_chat, shown
from schemas.dialects.llava import from_llava, to_llava, words_apart
from schemas.dialects.qwen import from_qwen, to_qwen
from schemas.markup import MarkupError, canonical
from schemas.markup.render import merged
from schemas.sample import Example, Image, ImageRef, Phrase, Segment, Text, Turn
from tests.schemas.markup.strategies import boxes, quads, sample, words

NAMES = ["a.jpg", "b <img> c.png", "一.jpg"]
WIDE = Image("JPEG", 1000, 500, "0" * 64)


@st.composite
def dialogues(draw: st.DrawFn, with_quads: bool = True) -> Example:
    """Questions of a user and taught answers of an assistant, over up to three images of 1000 x 500."""
    order = draw(st.lists(st.integers(0, 2), max_size=3))
    count = len(set(order))
    order = [sorted(set(order)).index(one) for one in order]
    order = [list(dict.fromkeys(order)).index(one) for one in order]
    turns = []
    for at in range(draw(st.integers(1, 4))):
        taught = at % 2 == 1
        segments: list[Segment] = [ImageRef(one) for one in order] if at == 0 else []
        for _ in range(draw(st.integers(0, 3))):
            text = st.builds(Text, words, st.just(taught))
            regions = st.builds(
                Phrase,
                words,
                st.lists(boxes(), min_size=1, max_size=2).map(tuple),
                st.lists(quads, max_size=1).map(tuple) if with_quads else st.just(()),
                st.just(taught),
            )
            segments.append(draw(text | regions if order else text))
        turns.append(Turn("assistant" if taught else "user", tuple(segments)))
    return sample((WIDE,) * count, tuple(turns))


def sizes(one: Example) -> dict[str, tuple[int, int]]:
    return {name: (image.width, image.height) for name, image in zip(NAMES, one.images, strict=False)}


@settings(max_examples=200, deadline=None)
@given(dialogues())
def test_finetune_json_gives_the_dialogue_back(one: Example) -> None:
    """What Qwen-VL's JSON says is the dialogue, to the coordinate grid."""
    read = from_qwen(to_qwen(one, NAMES), sizes(one))
    assert read.turns == canonical(one)
    assert (read.id, list(read.images)) == (one.key, NAMES[: len(one.images)])


@settings(max_examples=200, deadline=None)
@given(dialogues(with_quads=False))
def test_llava_json_gives_the_dialogue_back(one: Example) -> None:
    """What LLaVA's JSON says is the dialogue: words, images, and boxes to a thousandth of the side."""
    read = from_llava(to_llava(one, NAMES), sizes(one))
    assert list(read.images) == NAMES[: len(one.images)]
    for got, given_ in zip(read.turns, one.turns, strict=True):
        assert near(got.segments) == near(joined(merged(words_apart(given_.segments))))


def joined(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    out: list[Segment] = []
    for one in segments:
        if isinstance(one, Phrase) and out and isinstance(out[-1], Phrase):
            out[-1] = replace(one, boxes=(*out[-1].boxes, *one.boxes))
        else:
            out.append(one)
    return tuple(out)


def near(segments: tuple[Segment, ...]) -> list[object]:
    out: list[object] = []
    for one in segments:
        if isinstance(one, Phrase):
            out.append(
                [[_cell(v, side) for v, side in zip(b, (1000, 500) * 2, strict=True)] for b in one.boxes]
            )
        else:
            out.append(one)
    return out


def _cell(value: float, side: int) -> int:
    return round(min(max(value / side, 0), 1), 3).__mul__(1000).__round__()


BOX = (100, 50, 300, 250)
DOCUMENTS = {
    "caption": (ImageRef(0), Text("A dog.", True)),
    "vqa": (ImageRef(0), Text("What?"), Text("A dog.", True)),
    "grounding": (ImageRef(0), Text("A ", True), Phrase("dog", (BOX,), (), True)),
    "referring": (ImageRef(0), Phrase("dog", (BOX,), (), True)),
    "grounded_caption": (ImageRef(0), Phrase("dog", (BOX,), (), True)),
    "ocr": (ImageRef(0), Phrase("dog", (BOX,), (), True)),
}


@pytest.mark.parametrize(
    ("task", "asked", "answered"),
    [
        ("caption", "Generate the caption in English:", "A dog."),
        ("vqa", "What?", "A dog."),
        ("grounding", "Generate the caption in English with grounding:", "A<ref> dog</ref>{}"),
        ("referring", "<ref>dog</ref>", "<ref>dog</ref>{}"),
        ("grounded_caption", "<ref>This</ref>{} is", "dog"),
        ("ocr", "OCR with grounding:", "<ref>dog</ref>{}"),
    ],
)
def test_a_document_becomes_a_question_and_its_answer(task: str, asked: str, answered: str) -> None:
    """Stage-2 samples are written for the finetune script with their prompt as the user's turn."""
    one = sample((WIDE,), (Turn("document", DOCUMENTS[task]),), task)
    box = "<box>(100,100),(300,500)</box>"
    assert to_qwen(one, ["a.jpg"]) == {
        "id": "k",
        "conversations": [
            {"from": "user", "value": "Picture 1: <img>a.jpg</img>\n" + asked.format(box)},
            {"from": "assistant", "value": answered.format(box)},
        ],
    }
    assert from_qwen(to_qwen(one, ["a.jpg"]), {"a.jpg": (1000, 500)}).turns == canonical(as_chat(one))


def test_llava_is_written_to_the_letter() -> None:
    """LLaVA's JSON names a single image as text, marks it with <image>, and gives boxes as shares."""
    one = sample((WIDE,), (Turn("document", DOCUMENTS["referring"]),), "referring")
    assert to_llava(one, ["a.jpg"]) == {
        "id": "k",
        "image": "a.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\ndog"},
            {"from": "gpt", "value": "dog [0.100, 0.100, 0.300, 0.500]"},
        ],
    }
    said = sample((), (Turn("user", (Text("<image> and [0.1, 0.2, 0.3, 0.4]"),)),))
    value = to_llava(said, [])["conversations"][0]["value"]
    assert value == "<\\image> and [\\0.1, 0.2, 0.3, 0.4]"
    assert from_llava(to_llava(said, []), {}).turns == said.turns


@pytest.mark.parametrize("task", ["text", "interleaved"])
def test_a_document_without_a_question_is_no_dialogue(task: str) -> None:
    """Pure text and interleaved documents cannot be asked for."""
    one = sample((), (Turn("document", (Text("words", True),)),), task)
    with pytest.raises(MarkupError, match="no question"):
        to_qwen(one, [])


def test_what_a_dialect_lacks_is_refused() -> None:
    """A system turn in the finetune JSON and a quad in LLaVA's are refused, never dropped."""
    system = sample((), (Turn("system", (Text("Be brief."),)), Turn("user", (Text("Hi"),))))
    with pytest.raises(MarkupError, match="no turn of system"):
        to_qwen(system, [])
    assert from_llava(to_llava(system, []), {}).turns == system.turns
    quad = Phrase("x", (), (((0, 0), (9, 0), (9, 9), (0, 9)),))
    with pytest.raises(MarkupError, match="no quads"):
        to_llava(sample((WIDE,), (Turn("user", (ImageRef(0), quad)),)), ["a.jpg"])


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"conversations": [1]},
        {"conversations": [{"from": "human", "value": 3}]},
        {"conversations": [{"from": "moderator", "value": ""}]},
        {"conversations": [{"from": "user", "value": "x<|im_end|>\n<|im_start|>assistant\ny"}]},
        {"conversations": [{"from": "user", "value": "Picture 1: <img>gone.jpg</img>\n"}]},
        {"conversations": [{"from": "user", "value": "<box>(1,2),(3,4)</box>"}]},
    ],
)
def test_a_broken_finetune_record_is_refused(record: dict[str, object]) -> None:
    """Anything that is no dialogue is an error, and no turn can be smuggled into another."""
    with pytest.raises(MarkupError):
        from_qwen(record, {})


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"conversations": [1]},
        {"conversations": [{"from": "human", "value": "<image>"}]},
        {"image": "a.jpg", "conversations": [{"from": "human", "value": "hello"}]},
        {"conversations": [{"from": "human", "value": "[0.1, 0.2, 0.3, 0.4]"}]},
        {"image": 3, "conversations": []},
    ],
)
def test_a_broken_llava_record_is_refused(record: dict[str, object]) -> None:
    """Images that are listed and not shown, or shown and not listed, are an error."""
    with pytest.raises(MarkupError):
        from_llava(record, {"a.jpg": (9, 9)})


def test_pictures_are_listed_as_often_as_shown() -> None:
    """An image that is shown twice is listed twice, and is one image when read."""
    turns = (Turn("user", (ImageRef(0), ImageRef(0), Text("Same?"))), Turn("assistant", (Text("Yes", True),)))
    one = sample((WIDE,), turns)
    record = to_llava(one, ["a.jpg"])
    assert record["image"] == ["a.jpg", "a.jpg"]
    assert from_llava(record, sizes(one)).turns == turns
    assert shown(turns) == [0, 0]
