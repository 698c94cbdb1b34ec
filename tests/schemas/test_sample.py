import json
import math

import pytest
from hypothesis import given

from schemas.sample import (
    Image,
    ImageRef,
    Phrase,
    Sample,
    Text,
    Turn,
    caption_sample,
    sample_key,
    text_sample,
)
from schemas.strict import FieldError
from tests.schemas.samples import samples

PICTURE = Image("JPEG", 640, 480, "0" * 64)


def caption(text: str = "一只猫") -> Sample:
    return caption_sample(
        "a" * 32, text, PICTURE, split="train", language="zh", source="laion-zh", licence="CC BY 4.0"
    )


@given(samples())
def test_json_gives_the_sample_back(sample: Sample) -> None:
    """Reading what was written gives an equal sample, and writing that gives the same text."""
    line = sample.to_json()
    assert Sample.from_json(line) == sample
    assert Sample.from_json(line.encode()).to_json() == line


def test_caption_sample_has_the_shape_of_the_contract() -> None:
    """A caption sample is one turn of an image and its supervised caption, with nothing of a prompt."""
    assert json.loads(caption().to_json()) == {
        "key": "a" * 32 + "-caption-0",
        "task": "caption",
        "split": "train",
        "language": "zh",
        "source": "laion-zh",
        "licence": "CC BY 4.0",
        "images": [{"format": "JPEG", "width": 640, "height": 480, "sha256": "0" * 64}],
        "turns": [
            {"role": "document", "segments": [segment(image=0), segment(text="一只猫", supervised=True)]}
        ],
    }


def test_text_sample_has_no_picture() -> None:
    """A text sample is one supervised text and no image."""
    sample = text_sample("b" * 32, "words", split="val", language="en", source="s", licence="CC0", ordinal=2)
    assert (sample.key, sample.images, sample.text) == ("b" * 32 + "-text-2", (), "words")
    assert sample.turns == (Turn("document", (Text("words", supervised=True),)),)


def test_json_is_sorted_and_keeps_characters() -> None:
    """Keys are sorted, there is no white space, and no character is escaped that need not be."""
    line = caption().to_json()
    assert '"text":"一只猫"' in line
    assert line == json.dumps(json.loads(line), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def test_keys_hold_no_dot() -> None:
    """A sample's key is its pair's key, its task and its number; a dot would end it in a tar."""
    assert sample_key("c" * 32, "vqa", 3) == "c" * 32 + "-vqa-3"
    with pytest.raises(FieldError, match="key must be"):
        sample_of(key="a.b")


def test_coordinates_have_one_form() -> None:
    """Whole numbers stay whole, others are rounded to two decimals, minus zero is zero."""
    phrase = Phrase("x", boxes=((1, 2.0, 3.14159, -0.0),), quads=((((0, 0), (1.005, 0), (2, 2), (0.1, 2))),))
    assert json.dumps(phrase.boxes) == "[[1, 2.0, 3.14, 0.0]]"
    assert json.dumps(phrase.quads) == "[[[0, 0], [1.0, 0], [2, 2], [0.1, 2]]]"


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1", None])
def test_a_coordinate_is_a_finite_number(value: object) -> None:
    """What is no finite number is no coordinate."""
    with pytest.raises(FieldError, match="finite"):
        Phrase("x", boxes=((0, 0, 1, value),))  # type: ignore[arg-type]


def segment(**given: object) -> dict[str, object]:
    """A segment as JSON has it: every key, null where none is given."""
    return dict.fromkeys(("text", "image", "phrase", "boxes", "quads", "supervised")) | given


def said(part: object) -> dict[str, object]:
    """The turns of a sample whose user says one segment."""
    return {"turns": [{"role": "user", "segments": [part]}]}


def sample_of(**changes: object) -> Sample:
    record = json.loads(caption().to_json()) | changes
    return Sample.from_json(json.dumps(record))


@pytest.mark.parametrize("name", ["key", "task", "split", "language", "source", "licence", "images", "turns"])
def test_a_missing_field_is_named(name: str) -> None:
    """Each field must be there, and the error names the one that is not."""
    record = json.loads(caption().to_json())
    del record[name]
    with pytest.raises(FieldError, match=rf"lacks the field {name}"):
        Sample.from_json(json.dumps(record))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "unknown field colour"),
        ({"licence": None}, "licence must be text"),
        ({"language": "\ud800"}, "language holds half"),
        ({"images": {}}, "images must be an array"),
        ({"images": [{"format": "JPEG", "width": 1, "height": 1}]}, "image lacks the field sha256"),
        ({"images": [{"format": "JPEG", "width": 0, "height": 1, "sha256": "0" * 64}]}, "above 0"),
        ({"images": [{"format": "JPEG", "width": True, "height": 1, "sha256": "0" * 64}]}, "image.width"),
        ({"turns": [{"role": "user"}]}, "turn lacks the field segments"),
        ({"turns": [{"role": "robot", "segments": []}]}, "turn.role must be one of"),
        (said({"text": "x", "supervised": True}), "segment lacks the field boxes, image, phrase, quads"),
        (said(segment(text="x")), "this one holds text"),
        (said(segment(text="x", supervised=1)), "segment.supervised"),
        (said(segment(image=1)), "segment.image 1 names none of 1"),
        (said(segment(image=0, text="x", supervised=True)), "this one holds text, image, supervised"),
        (said(segment()), "this one holds nothing"),
        (said(segment() | {"colour": 1}), "segment has the unknown field colour"),
        (said(3), "segment must be an object"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, object], message: str) -> None:
    """An unknown field or a value of the wrong kind is an error that names the field."""
    with pytest.raises(FieldError, match=message):
        sample_of(**changes)


@pytest.mark.parametrize("line", ["", "[]", "{", '{"key": NaN}', "[" * 100_000, b"\xff", "1" * 5000])
def test_what_is_no_sample_is_refused(line: str | bytes) -> None:
    """Bytes that are no JSON object are a FieldError, however they fail."""
    with pytest.raises(FieldError):
        Sample.from_json(line)


def test_half_a_surrogate_pair_is_refused() -> None:
    """A text that UTF-8 cannot write never reaches a shard."""
    with pytest.raises(FieldError, match="surrogate"):
        caption("\ud83d").to_json()


def test_text_joins_the_words_of_turns() -> None:
    """The words of a sample are texts and phrases in reading order, a line feed between turns."""
    turns = (Turn("user", (ImageRef(0), Text("What?"))), Turn("assistant", (Text("a "), Phrase("red cat"))))
    sample = Sample("k", "vqa", "train", "en", "s", "l", (PICTURE,), turns)
    assert sample.text == "What?\na red cat"
