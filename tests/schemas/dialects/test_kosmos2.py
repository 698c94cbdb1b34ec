from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dialects.kosmos2 import from_kosmos2, to_kosmos2
from schemas.markup import MarkupError
from schemas.markup.render import merged
from schemas.sample import Box, Phrase, Segment, Text
from tests import needs
from tests.schemas.markup.strategies import words

SIZE = (640, 480)
inner = st.tuples(st.integers(0, 600), st.floats(0, 400)).flatmap(
    lambda p: st.tuples(st.just(p[0]), st.just(p[1]), st.floats(p[0] + 0.1, 640), st.floats(p[1] + 0.1, 480))
)
marks = words | st.sampled_from(
    ["<phrase>", "</phrase>", "<object>", "<patch_index_0001>", "<grounding>", "<\\phrase>", "<image>"]
)
captions = st.lists(
    st.builds(Text, marks, st.just(True))
    | st.builds(Phrase, marks, st.lists(inner, max_size=3).map(tuple), supervised=st.just(True)),
    max_size=5,
)


def _snap(box: Box) -> Box:
    """Returns what comes back of a box that is alone in its caption."""
    (alone,) = from_kosmos2(to_kosmos2([Phrase("x", (box,))], SIZE), SIZE)
    assert isinstance(alone, Phrase)
    return alone.boxes[0]


@settings(max_examples=300, deadline=None)
@given(captions)
def test_the_grounded_text_gives_the_caption_back(caption: list[Segment]) -> None:
    """Texts and phrases come back with boxes on the grid of 32, spelled marks included."""
    snapped = [
        Phrase(one.phrase, tuple(_snap(box) for box in one.boxes), (), True)
        if isinstance(one, Phrase)
        else one
        for one in caption
    ]
    assert from_kosmos2(to_kosmos2(caption, SIZE), SIZE) == merged(snapped)


def test_the_published_example_is_written_to_the_letter() -> None:
    """The space goes inside <phrase>, and boxes are the tokens of their first and last cell."""
    cell = 640 / 32
    snowman = Phrase("a snowman", ((12.5 * cell, 1.5 * cell, 31.5 * cell, 26.5 * cell),), (), True)
    fire = Phrase("a fire", ((0, 0, 1, 1), (639, 639, 640, 640)), (), True)
    caption: list[Segment] = [Text("An image of ", True), snowman, Text(" by ", True), fire, Text(".", True)]
    assert to_kosmos2(caption, (640, 640)) == (
        "<grounding> An image of<phrase> a snowman</phrase>"
        "<object><patch_index_0044><patch_index_0863></object> by<phrase> a fire</phrase>"
        "<object><patch_index_0000><patch_index_0000></delimiter_of_multi_objects/>"
        "<patch_index_1023><patch_index_1023></object>."
    )


@pytest.fixture(scope="module")
def published() -> Any:
    """The module of transformers that reads and writes Kosmos-2's location tokens."""
    return needs.package("transformers.models.kosmos2.processing_kosmos2")


@settings(max_examples=50, deadline=None)
@given(first=st.integers(0, 1023), last=st.integers(0, 1023))
def test_cells_are_those_of_the_published_code(published: Any, first: int, last: int) -> None:
    """Tokens and pixels agree with the functions of transformers' Kosmos-2 processor."""
    size = (1024, 1024)
    x1, x2 = sorted((first % 32, last % 32))
    y1, y2 = sorted((first // 32, last // 32))
    first, last = y1 * 32 + x1, y2 * 32 + x2
    shares = published.patch_index_to_coordinate(first, last, 32)
    text = f"<grounding><phrase>x</phrase><object><patch_index_{first:04d}><patch_index_{last:04d}></object>"
    (read,) = from_kosmos2(text, size)
    assert isinstance(read, Phrase)
    assert read.boxes[0] == pytest.approx([share * 1024 for share in shares])
    assert to_kosmos2([read], size) == text.replace("<phrase>x", "<phrase> x")
    assert published.coordinate_to_patch_index(shares, 32) == (first, last)


@pytest.mark.parametrize(
    "text",
    [
        "a caption",
        "<grounding>a </phrase>",
        "<grounding><phrase>x</phrase><object><patch_index_9999><patch_index_0001></object>",
        "<grounding><object></object>",
        "<grounding><phrase>x",
    ],
)
def test_a_malformed_text_is_refused(text: str) -> None:
    """Marks out of place and cells off the grid are errors."""
    with pytest.raises(MarkupError):
        from_kosmos2(text, SIZE)


def test_what_it_lacks_is_refused() -> None:
    """A quad, and a box outside the image, cannot be said."""
    quad = ((0, 0), (9, 0), (9, 9), (0, 9))
    with pytest.raises(MarkupError, match="quads"):
        to_kosmos2([Phrase("x", (), (quad,))], SIZE)
    with pytest.raises(MarkupError, match="no extent"):
        to_kosmos2([Phrase("x", ((700, 0, 800, 10),))], SIZE)
