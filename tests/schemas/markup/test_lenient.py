import time
from contextlib import suppress

import pytest

from schemas.markup import PROBLEMS, MarkupError, parse, parse_lenient
from schemas.sample import ImageRef, Phrase, Segment, Text

BOX = (10.05, 20.05, 30.05, 40.05)


def dog(*boxes: tuple[float, float, float, float]) -> Phrase:
    return Phrase("dog", boxes)


@pytest.mark.parametrize(
    ("text", "segments", "kinds"),
    [
        ("a cat", [Text("a cat")], []),
        ("A<ref> dog</ref><box>(100,200),(300,400)</box>.", [Text("A "), dog(BOX), Text(".")], []),
        ("<ref>dog</ref><box>(100,200),(300,400)", [dog(BOX)], ["unclosed"]),
        ("<ref>dog<box>(100,200),(300,400)</box>", [dog(BOX)], ["unclosed"]),
        ("<ref>dog</ref><box>(100,200),(300", [dog(), Text("(100,200),(300")], ["unclosed"]),
        ("<ref>dog</ref><box>(100, 200), (300, 400)</box>", [dog(BOX)], ["coordinates"]),
        ("<ref>dog</ref><box>[100.2, 200, 300, 400]</box>", [dog(BOX)], ["coordinates"]),
        ("<ref>dog</ref><box>a dog</box>!", [dog(), Text("!")], ["coordinates"]),
        ("<ref>dog</ref><box></box>", [dog()], ["coordinates"]),
        ("<ref>dog</ref><box>(300,400),(100,200)</box>", [dog(BOX)], ["order"]),
        ("<ref>dog</ref><box>(0,0),(1000,99999999999999999999)</box>", [dog((0.05, 0.05, 99.95, 99.95))],
         ["coordinates", "range"]),
        ("<box>(100,200),(300,400)</box>", [Phrase("", (BOX,))], []),
        ("</ref></box>x<imgpad>", [Text("x")], ["stray", "stray", "stray"]),
        ("<img>0</img>x<img>5</img>", [ImageRef(0), Text("x")], ["image"]),
        ("done<|im_end|>\n", [Text("done")], []),
        ("done<|endoftext|>and more<box>", [Text("done")], ["after_end"]),
        ("<|im_start|>assistant", [], ["after_end"]),
        ("<ref>", [Phrase("")], ["unclosed"]),
        ("", [], []),
    ],
)  # fmt: skip
def test_what_can_be_read_is_read_and_the_rest_is_a_problem(
    text: str, segments: list[Segment], kinds: list[str]
) -> None:
    """A model's answer gives its words and regions, with every fault named."""
    read = parse_lenient(text, [(100, 100)])
    assert list(read.segments) == segments
    assert [problem.kind for problem in read.problems] == kinds
    assert set(kinds) <= PROBLEMS.keys()


def test_a_box_without_any_picture_is_a_problem() -> None:
    """Without an image a box has no size to be of."""
    assert [one.kind for one in parse_lenient("<box>(1,2),(3,4)</box>", []).problems] == ["image"]


def test_boxes_are_of_the_picture_asked_for() -> None:
    """`image` says which image the answer is about; the last is the default."""
    answer, sizes = "<ref>dog</ref><box>(100,200),(300,400)</box>", [(100, 100), (1000, 1000)]
    assert parse_lenient(answer, sizes, image=0).segments == (dog(BOX),)
    assert parse_lenient(answer, sizes).segments == (dog((100.5, 200.5, 300.5, 400.5)),)


@pytest.mark.parametrize(
    "text",
    [
        "<ref>" * 20_000,
        "a</ref>" * 20_000,
        "<box>(1,2)," * 20_000,
        "<box>(1,2),(3,4)</box>" * 5_000,
        "<" + "\\" * 100_000,
        "<img>" + "9" * 100_000,
        "<img>" * 20_000,
        "<|im_start|>assistant\nx" * 10_000,
        "<|im_start|>assistant\nx<|im_end|>\n" * 3_000,
    ],
)
def test_long_junk_is_read_in_time(text: str) -> None:
    """A hundred thousand characters of junk take little time of the processor, in either reader."""
    since = time.process_time()
    assert parse_lenient(text, [(100, 100)]).segments is not None
    with suppress(MarkupError):
        parse(text, [(100, 100)])
    assert time.process_time() - since < 20
