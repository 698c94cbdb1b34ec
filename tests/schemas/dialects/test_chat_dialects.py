"""Qwen-VL's finetune JSON and LLaVA's: both are dialogues."""

import contextlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dialects.dialogue import LACKS, THOUSANDTHS, CannotSay, TextReader, as_chat, shown
from schemas.dialects.llava import read_llava, to_llava, words_apart
from schemas.dialects.qwen import from_qwen, to_qwen
from schemas.dialects.qwen3 import json_reader, read_tagged, to_qwen3
from schemas.markup import MarkupError, canonical
from schemas.markup.render import merged
from schemas.markup.tags import box_cells
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


def written(
    write: Callable[[Example, list[str]], dict[str, Any]], one: Example, reasons: set[str]
) -> dict[str, Any] | None:
    """The record of a dialogue; None where the dialect cannot say it, for one of `reasons`."""
    with contextlib.suppress(CannotSay):
        return write(one, NAMES)
    with pytest.raises(CannotSay) as caught:
        write(one, NAMES)
    assert caught.value.reason in reasons
    return None


def texts_read(record: dict[str, Any], read: TextReader) -> list[tuple[Segment, ...]]:
    """The segments of each turn of a record; images are numbered as shown."""
    found, count = [], 0
    for turn in record["conversations"]:
        segments, count = read(turn["value"], turn["from"] == "gpt", count)
        found.append(segments)
    return found


def by_showing(turns: tuple[Turn, ...]) -> list[tuple[Segment, ...]]:
    """The segments of each turn, with images numbered as shown."""
    count = itertools.count()
    return [
        tuple(ImageRef(next(count)) if isinstance(one, ImageRef) else one for one in turn.segments)
        for turn in turns
    ]


@settings(max_examples=200, deadline=None)
@given(dialogues())
def test_finetune_json_gives_the_dialogue_back(one: Example) -> None:
    """What Qwen-VL's JSON says is the dialogue, to the coordinate grid; a box without extent there is refused."""
    record = written(to_qwen, one, {"box"})
    if record is None:
        return
    read = from_qwen(record, sizes(one).get)
    assert read.turns == canonical(one)
    assert (read.id, list(read.images)) == (one.key, NAMES[: len(one.images)])


@settings(max_examples=200, deadline=None)
@given(dialogues(with_quads=False))
def test_llava_json_gives_the_dialogue_back(one: Example) -> None:
    """What LLaVA's JSON says is the dialogue: words, images, and boxes to a thousandth of the side."""
    record = written(to_llava, one, {"box"})
    if record is None:
        return
    for got, given_ in zip(texts_read(record, read_llava), by_showing(one.turns), strict=True):
        assert near(got, THOUSANDTHS) == near(joined(merged(words_apart(given_))), (1000, 500))


@settings(max_examples=200, deadline=None)
@given(dialogues(with_quads=False))
def test_qwen3_json_gives_the_dialogue_back(one: Example) -> None:
    """What Qwen3-VL's JSON says is the dialogue to its grid, or a reason says what it has no place for."""
    record = written(to_qwen3, one, {"box", "words", "text"})
    if record is None:
        return
    for got, given_ in zip(
        texts_read(record, json_reader(relative=True)), by_showing(one.turns), strict=True
    ):
        assert cells(got, THOUSANDTHS) == cells(given_, (1000, 500))


def cells(segments: tuple[Segment, ...], size: tuple[int, int]) -> list[object]:
    """Words as one run, boxes as cells with their phrase each."""
    out: list[object] = []
    for one in segments:
        if isinstance(one, Phrase) and one.boxes:
            out += [(one.phrase, box_cells(box, size)) for box in one.boxes]
        elif isinstance(one, ImageRef):
            out.append(one)
        elif words := one.text if isinstance(one, Text) else one.phrase:
            out[-1:] = [out[-1] + words] if out and isinstance(out[-1], str) else [*out[-1:], words]
    return out


def joined(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    out: list[Segment] = []
    for one in segments:
        if isinstance(one, Phrase) and out and isinstance(out[-1], Phrase):
            out[-1] = replace(one, boxes=(*out[-1].boxes, *one.boxes))
        else:
            out.append(one)
    return tuple(out)


def near(segments: tuple[Segment, ...], size: tuple[int, int]) -> list[object]:
    out: list[object] = []
    for one in segments:
        if isinstance(one, Phrase):
            out.append([[_cell(v, side) for v, side in zip(b, size * 2, strict=True)] for b in one.boxes])
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
    assert from_qwen(to_qwen(one, ["a.jpg"]), {"a.jpg": (1000, 500)}.get).turns == canonical(as_chat(one))


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
    assert read_llava(value, False, 0) == (said.turns[0].segments, 0)


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
    assert [turn["from"] for turn in to_llava(system, [])["conversations"]] == ["system", "human"]
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
        from_qwen(record, {}.get)


@pytest.mark.parametrize(
    ("read", "text", "kind"),
    [
        (read_llava, "so [0.5, 0.1, 0.2, 0.4]", "order"),
        (read_llava, "so [0.5, 0.1, 0.5, 0.4]", "flat"),
        (read_llava, "so [0.5, 0.1, 1.5, 0.4]", "range"),
        (read_llava, "so [-0.5, 0.1, 0.9, 0.4]", "range"),
        *(
            (json_reader(relative=True), f'so {{"bbox_2d": {box}}}', kind)
            for box, kind in {
                "[9, 9, 1, 1]": "order",
                "[1, 1, 1, 9]": "flat",
                "[1, 1, 1001, 9]": "range",
                "[1, 1, NaN, 9]": "coordinates",
                '["1", 1, 2, 9]': "coordinates",
                "[[1, 1, 2, 9]]": "coordinates",
                "[1, 1, 1e999, 9]": "coordinates",
                f"[1, 1, {'9' * 999}, 9]": "coordinates",
                "[1, 1, 2": "coordinates",
                '[1, 1, 2, 9], "score": 1': "stray",
            }.items()
        ),
        (read_tagged, "so <|box_start|>(9,9),(1,1)<|box_end|>", "order"),
        (read_tagged, "so <|box_start|>(1,1),(1,9)<|box_end|>", "flat"),
        (read_tagged, "so <|box_start|>(1,1),(1001,9)<|box_end|>", "range"),
        (read_tagged, "so <|box_start|>a box<|box_end|>", "coordinates"),
        (read_tagged, "so <|box_start|>(1,1),(5,9)", "stray"),
    ],
)
def test_a_broken_box_is_an_error_with_its_place_in_the_text(read: TextReader, text: str, kind: str) -> None:
    """Each kind of broken box has a name, and the place counts the characters of the turn's own text."""
    with pytest.raises(MarkupError, match="at character 3: ") as caught:
        read(text, True, 1)
    assert caught.value.problem is not None
    assert (caught.value.problem.kind, caught.value.problem.start) == (kind, 3)


def test_a_place_in_the_finetune_json_counts_the_turn_s_own_text() -> None:
    """An error in the second turn says so, and counts from the turn's first character."""
    said = [
        {"from": "user", "value": "Picture 1: <img>a.jpg</img>\nWhere?"},
        {"from": "assistant", "value": "here <box>(9,9),(1,1)</box>"},
    ]
    with pytest.raises(MarkupError, match="turn 1, at character 5: "):
        from_qwen({"conversations": said}, {"a.jpg": (1000, 500)}.get)


def test_qwen3_is_written_to_the_letter() -> None:
    """An answer of boxes is one list of JSON, each box with its label, from 0 to 1000."""
    dogs = Phrase("dog", (BOX, (0, 0, 1000, 500)), (), True)
    turns = (
        Turn("user", (ImageRef(0), Text("Where?"))),
        Turn("assistant", (dogs, Phrase("cat", (BOX,), (), True))),
    )
    said = to_qwen3(sample((WIDE,), turns), ["a.jpg"])["conversations"]
    assert said[0] == {"from": "human", "value": "<image>\nWhere?"}
    assert json.loads(said[1]["value"]) == [
        {"bbox_2d": [100, 100, 300, 500], "label": "dog"},
        {"bbox_2d": [0, 0, 999, 999], "label": "dog"},
        {"bbox_2d": [100, 100, 300, 500], "label": "cat"},
    ]


def test_a_view_that_a_dialect_cannot_say_has_a_reason() -> None:
    """A writer says by name what its dialect lacks: words beside boxes, quads, turns, what is taught."""
    mixed = sample((WIDE,), (Turn("document", DOCUMENTS["grounding"]),), "grounding")
    untaught = sample((), (Turn("user", (Text("Hi"),)), Turn("assistant", (Text("Ho"),))))
    tiny = sample(
        (WIDE,), (Turn("document", (ImageRef(0), Phrase("x", ((1, 1, 1.2, 1.2),), (), True))),), "referring"
    )
    for one, write, reason in [
        (mixed, to_qwen3, "words"),
        (untaught, to_llava, "loss"),
        (tiny, to_qwen, "box"),
        (tiny, to_llava, "box"),
        (tiny, to_qwen3, "box"),
    ]:
        with pytest.raises(CannotSay) as caught:
            write(one, ["a.jpg"])
        assert caught.value.reason == reason
        assert reason in LACKS


def test_pictures_are_listed_as_often_as_shown() -> None:
    """An image that is shown twice is listed twice, and is one image when read."""
    turns = (Turn("user", (ImageRef(0), ImageRef(0), Text("Same?"))), Turn("assistant", (Text("Yes", True),)))
    one = sample((WIDE,), turns)
    record = to_llava(one, ["a.jpg"])
    assert record["image"] == ["a.jpg", "a.jpg"]
    assert texts_read(record, read_llava)[0][:2] == (ImageRef(0), ImageRef(1))
    assert shown(turns) == [0, 0]
