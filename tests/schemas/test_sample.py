import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given

from schemas.sample import (
    Example,
    Image,
    ImageRef,
    Phrase,
    Sample,
    Text,
    Turn,
    View,
    caption_example,
    example_of,
    image_key,
    text_example,
    view_key,
)
from schemas.strict import FieldError
from tests.schemas.samples import samples

IMAGE = Image("JPEG", 640, 480, "0" * 64, "1" * 64, "https://a.example/cat.jpg")
KEY = "a" * 32


def captioned(text: str = "一只猫") -> Example:
    return caption_example(
        KEY, text, IMAGE, split="train", language="zh", source="laion-zh", licence="CC BY 4.0"
    )


def sample() -> Sample:
    """A sample with two views of one image."""
    turns = (Turn("document", (ImageRef(0), Text("What?"), Text("A cat", supervised=True))),)
    asked = replace(captioned(), key=view_key(KEY, "vqa", 0), task="vqa", turns=turns, id="7", extra="{}")
    return Sample.of(KEY, [captioned(), asked])


@given(samples())
def test_json_gives_the_sample_back(sample: Sample) -> None:
    """Reading what was written gives an equal sample, and writing that gives the same text."""
    line = sample.to_json()
    assert Sample.from_json(line) == sample
    assert Sample.from_json(line.encode()).to_json() == line


def test_a_sample_has_the_shape_of_the_contract() -> None:
    """A sample is its images and its views; a caption is one turn of an image and its supervised words."""
    assert json.loads(sample().to_json()) == {
        "key": KEY,
        "split": "train",
        "source": "laion-zh",
        "images": [
            {
                "format": "JPEG",
                "width": 640,
                "height": 480,
                "sha256": "0" * 64,
                "original_sha256": "1" * 64,
                "url": "https://a.example/cat.jpg",
            }
        ],
        "views": [
            {
                "key": f"{KEY}-caption-0",
                "task": "caption",
                "language": "zh",
                "id": None,
                "licence": "CC BY 4.0",
                "extra": None,
                "turns": said(segment(image=0), segment(text="一只猫", supervised=True)),
            },
            {
                "key": f"{KEY}-vqa-0",
                "task": "vqa",
                "language": "zh",
                "id": "7",
                "licence": "CC BY 4.0",
                "extra": "{}",
                "turns": said(
                    segment(image=0),
                    segment(text="What?", supervised=False),
                    segment(text="A cat", supervised=True),
                ),
            },
        ],
    }


@given(samples())
def test_each_view_is_an_example_with_what_the_sample_shares(whole: Sample) -> None:
    """The examples of a sample have its split, source and images, and make the sample again."""
    examples = whole.examples
    assert [one.view for one in examples] == list(whole.views)
    assert {(one.split, one.source, one.images) for one in examples} == {
        (whole.split, whole.source, whole.images)
    }
    assert Sample.of(whole.key, examples) == whole


@given(samples())
def test_a_view_is_read_alone(whole: Sample) -> None:
    """One view of a sample's JSON is the example that the whole sample has; a view that is not there is refused."""
    value = json.loads(whole.to_json())
    assert tuple(example_of(value, at) for at in range(len(whole.views))) == whole.examples
    for at in (-1, len(whole.views)):
        with pytest.raises(FieldError, match=f"there is no view {at}"):
            example_of(value, at)


def test_the_original_digest_is_that_of_the_stored_bytes_where_none_is_given() -> None:
    """Bytes that were neither turned nor resized have one digest."""
    assert Image("JPEG", 1, 1, "2" * 64).original_sha256 == "2" * 64


def test_a_sample_without_a_view_is_refused() -> None:
    """A sample that teaches nothing has no place in a shard."""
    with pytest.raises(FieldError, match="a sample must have a view"):
        replace(sample(), views=())


def test_an_image_has_one_key_a_source() -> None:
    """The key depends on source and digest, and no two pairs of them run together."""
    keys = {image_key(*one) for one in [("a", "1" * 64), ("b", "1" * 64), ("a", "2" * 64), ("a1", "1" * 63)]}
    assert len(keys) == 4
    assert image_key("a", "1" * 64) == image_key("a", "1" * 64)


def test_a_text_has_no_image() -> None:
    """An example of text is one supervised text and no image."""
    one = text_example("b" * 32, "words", split="val", language="en", source="s", licence="CC0", ordinal=2)
    assert (one.key, one.images, one.text) == ("b" * 32 + "-text-2", (), "words")
    assert one.turns == (Turn("document", (Text("words", supervised=True),)),)


def test_json_is_sorted_and_keeps_characters() -> None:
    """Keys are sorted, there is no white space, and no character is escaped that need not be."""
    line = sample().to_json()
    assert '"text":"一只猫"' in line
    assert line == json.dumps(json.loads(line), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def test_keys_hold_no_dot() -> None:
    """A view's key is its row's key, its task and its number; a dot would end it in a tar."""
    assert view_key("c" * 32, "vqa", 3) == "c" * 32 + "-vqa-3"
    with pytest.raises(FieldError, match=r"^key must be"):
        sample_of(key="a.b")
    with pytest.raises(FieldError, match=r"view\.key must be"):
        view_of(key="a.b")


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


def said(*parts: object) -> list[dict[str, object]]:
    """The turns of a document of segments."""
    return [{"role": "document", "segments": list(parts)}]


def sample_of(**changes: object) -> Sample:
    record = json.loads(sample().to_json()) | changes
    return Sample.from_json(json.dumps(record))


def view_of(**changes: object) -> View:
    """The first view of a sample whose first view is changed."""
    first, *others = json.loads(sample().to_json())["views"]
    return sample_of(views=[first | changes, *others]).views[0]


def image_of(**changes: object) -> Image:
    """The image of a sample whose image is changed."""
    (image,) = json.loads(sample().to_json())["images"]
    return sample_of(images=[image | changes]).images[0]


@pytest.mark.parametrize("name", ["key", "split", "source", "images", "views"])
def test_a_missing_field_is_named(name: str) -> None:
    """Each field must be there, and the error names the one that is not."""
    record = json.loads(sample().to_json())
    del record[name]
    with pytest.raises(FieldError, match=rf"sample lacks the field {name}"):
        Sample.from_json(json.dumps(record))


@pytest.mark.parametrize("name", ["key", "task", "language", "id", "licence", "extra", "turns"])
def test_a_missing_field_of_a_view_is_named(name: str) -> None:
    """A view has every field, null where its row has nothing for it."""
    record = json.loads(sample().to_json())
    del record["views"][1][name]
    with pytest.raises(FieldError, match=rf"view lacks the field {name}"):
        Sample.from_json(json.dumps(record))


@pytest.mark.parametrize(
    ("of", "changes", "message"),
    [
        (sample_of, {"colour": 1}, "unknown field colour"),
        (sample_of, {"source": None}, "source must be text"),
        (sample_of, {"images": {}}, "images must be an array"),
        (sample_of, {"images": [{"format": "JPEG"}]}, "image lacks the field"),
        (sample_of, {"views": []}, "must have a view"),
        (sample_of, {"views": [3]}, "view must be an object"),
        (image_of, {"height": 0}, "above 0"),
        (image_of, {"width": True}, "image.width"),
        (image_of, {"original_sha256": ""}, "image.original_sha256 must be 64"),
        (image_of, {"sha256": "0"}, "image.sha256 must be 64"),
        (image_of, {"url": 3}, "image.url must be text"),
        (view_of, {"licence": None}, "view.licence must be text"),
        (view_of, {"language": "\ud800"}, "view.language holds half"),
        (view_of, {"id": 7}, "view.id must be text"),
        (view_of, {"extra": {"a": 1}}, "view.extra must be text"),
        (view_of, {"turns": [{"role": "user"}]}, "turn lacks the field segments"),
        (view_of, {"turns": [{"role": "robot", "segments": []}]}, "turn.role must be one of"),
        (
            view_of,
            {"turns": said({"text": "x", "supervised": True})},
            "segment lacks the field boxes, image, phrase, quads",
        ),
        (view_of, {"turns": said(segment(text="x"))}, "this one holds text"),
        (view_of, {"turns": said(segment(text="x", supervised=1))}, "segment.supervised"),
        (view_of, {"turns": said(segment(image=1))}, "segment.image 1 names none of 1"),
        (
            view_of,
            {"turns": said(segment(image=0, text="x", supervised=True))},
            "this one holds text, image, supervised",
        ),
        (view_of, {"turns": said(segment())}, "this one holds nothing"),
        (view_of, {"turns": said(segment() | {"colour": 1})}, "segment has the unknown field colour"),
        (view_of, {"turns": said(3)}, "segment must be an object"),
    ],
)
def test_a_wrong_field_is_named(of: Callable[..., object], changes: dict[str, object], message: str) -> None:
    """An unknown field or a value of the wrong kind is an error that names the field."""
    with pytest.raises(FieldError, match=message):
        of(**changes)


@pytest.mark.parametrize("line", ["", "[]", "{", '{"key": NaN}', "[" * 100_000, b"\xff", "1" * 5000])
def test_what_is_no_sample_is_refused(line: str | bytes) -> None:
    """Bytes that are no JSON object are a FieldError, however they fail."""
    with pytest.raises(FieldError):
        Sample.from_json(line)


def test_half_a_surrogate_pair_is_refused() -> None:
    """A text that UTF-8 cannot write never reaches a shard."""
    with pytest.raises(FieldError, match="surrogate"):
        Sample.of(KEY, [captioned("\ud83d")]).to_json()


def test_text_joins_the_words_of_turns() -> None:
    """The words of an example are texts and phrases in reading order, a line feed between turns."""
    turns = (Turn("user", (ImageRef(0), Text("What?"))), Turn("assistant", (Text("a "), Phrase("red cat"))))
    assert replace(captioned(), turns=turns).text == "What?\na red cat"
