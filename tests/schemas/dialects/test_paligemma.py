import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dialects.paligemma import Pair, from_paligemma, to_paligemma, together
from schemas.markup import MarkupError
from schemas.sample import Box, Example, Image, ImageRef, Phrase, Segment, Text, Turn
from tests.schemas.dialects.test_kosmos2 import inner
from tests.schemas.markup.strategies import sample, words

PICTURE = Image("JPEG", 640, 480, "0" * 64)
SIZE = (640, 480)
sayable = words.filter(lambda text: bool(text) and ";" not in text)


def document(task: str, *segments: Segment) -> Example:
    return sample((PICTURE,), (Turn("document", (ImageRef(0), *segments)),), task)


def _snap(box: Box) -> Box:
    """Returns what comes back of a box that is alone in its image."""
    _, (alone,) = from_paligemma(to_paligemma(document("grounding", Phrase("x", (box,)))), SIZE)
    assert isinstance(alone, Phrase)
    return alone.boxes[0]


@settings(deadline=None)
@given(
    st.lists(
        st.builds(Phrase, sayable, st.lists(inner, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=4
    )
)
def test_a_detection_gives_its_phrases_back(phrases: list[Phrase]) -> None:
    """Phrases come back with boxes on the grid of 1024, those of the same words together."""
    expected = together([Phrase(one.phrase, tuple(map(_snap, one.boxes))) for one in phrases])
    pair = to_paligemma(document("grounding", Text("In: ", True), *phrases))
    assert from_paligemma(pair, SIZE) == ("grounding", expected)


@settings(deadline=None)
@given(words, words)
def test_words_come_back(asked: str, said: str) -> None:
    """Captions, and questions with answers, are told apart by their prefix."""
    caption, vqa = document("caption", Text(said, True)), document("vqa", Text(asked), Text(said, True))
    assert from_paligemma(to_paligemma(caption), SIZE) == ("caption", (Text(said, True),))
    assert from_paligemma(to_paligemma(vqa), SIZE) == ("vqa", (Text(asked), Text(said, True)))


def test_pairs_are_written_to_the_letter() -> None:
    """Task words, language, and y before x in location tokens."""
    dog = Phrase("a dog", ((160, 120, 320, 480), (0, 0, 10, 10)), (), True)
    assert to_paligemma(document("referring", dog)) == Pair(
        "detect a dog",
        "<loc0256><loc0256><loc1023><loc0512> a dog ; <loc0000><loc0000><loc0021><loc0016> a dog",
    )
    assert to_paligemma(document("caption", Text("A dog.", True))) == Pair("caption en", "A dog.")
    assert to_paligemma(document("vqa", Text("What?"), Text("dog", True))) == Pair("answer en What?", "dog")
    ocr = document("ocr", Phrase("SALE", supervised=True), Phrase("NOW", supervised=True))
    assert to_paligemma(ocr) == Pair("ocr", "SALE\nNOW")
    assert from_paligemma(to_paligemma(ocr), SIZE)[1] == tuple(
        one for one in ocr.turns[0].segments if isinstance(one, Phrase)
    )


@pytest.mark.parametrize("phrase", ["a ; b", "<loc0001>", ""])
def test_a_phrase_that_would_be_misread_is_refused(phrase: str) -> None:
    """Separators and location tokens inside a phrase cannot be said."""
    with pytest.raises(MarkupError, match="cannot be asked"):
        to_paligemma(document("referring", Phrase(phrase, ((0, 0, 9, 9),), (), True)))


@pytest.mark.parametrize("task", ["grounded_caption", "text", "chat"])
def test_a_task_without_words_is_refused(task: str) -> None:
    """What PaliGemma was never taught is an error."""
    with pytest.raises(MarkupError, match="no words for task"):
        to_paligemma(document(task, Text("x", True)))


@pytest.mark.parametrize(
    "pair",
    [
        Pair("segment x", ""),
        Pair("detect x", "x"),
        Pair("detect x", "<loc1024><loc0000><loc0001><loc0001> x"),
    ],
)
def test_a_malformed_pair_is_refused(pair: Pair) -> None:
    """Unknown tasks and bins off the grid are errors."""
    with pytest.raises(MarkupError):
        from_paligemma(pair, SIZE)
