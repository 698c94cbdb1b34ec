"""A page of text becomes samples that the markup can write and read."""

import pytest

from schemas.markup import render
from schemas.sample import Example, Image, Phrase, Quad, Text
from synth.regions import TextLine, TextRegion, TextWord, text_views
from synth.views import View


def _quad(x: float) -> Quad:
    return (x, 10.0), (x + 8, 10.0), (x + 8, 20.0), (x, 20.0)


def _word(text: str, x: float, *, told: bool = True) -> TextWord:
    characters = tuple(TextRegion(char, _quad(x + at)) for at, char in enumerate(text))
    return TextWord(text, _quad(x), characters if told else ())


LINES = (
    TextLine("two words", _quad(1), (_word("two", 1), _word("words", 30))),
    TextLine("another", _quad(5), (_word("another", 5, told=False),)),
)


def _phrases(view: View) -> list[tuple[str, tuple[Quad, ...]]]:
    segments = view.turns[0].segments
    return [(one.phrase, one.quads) for one in segments if isinstance(one, Phrase)]


def _sample(view: View) -> Example:
    image = Image("JPEG", 100, 50, "0" * 64)
    return Example("k-ocr-0", view.task, "train", view.language, "s", "l", (image,), view.turns)


def test_a_page_is_its_lines_with_their_quads() -> None:
    """By default there is one view: phrase by phrase the page's lines, all of it supervised."""
    (view,) = text_views(LINES, "en")
    assert (view.task, view.language) == ("ocr", "en")
    assert _phrases(view) == [(line.text, (line.quad,)) for line in LINES]
    assert all(one.supervised for one in view.turns[0].segments if isinstance(one, Phrase))


def test_words_and_characters_may_stand_for_lines() -> None:
    """Level `word` gives one phrase a word; `character` one a character, or the word that tells none."""
    (words,) = text_views(LINES, "en", "word")
    assert [text for text, _ in _phrases(words)] == ["two", "words", "another"]
    (characters,) = text_views(LINES, "en", "character")
    assert [text for text, _ in _phrases(characters)] == [*"twowords", "another"]
    with pytest.raises(ValueError, match="level"):
        text_views(LINES, "en", "letter")


def test_the_whole_text_is_asked_for() -> None:
    """On request there is a second view: a question without loss and the page's text as its answer."""
    _, view = text_views(LINES, "en", whole=True)
    _, question, answer = view.turns[0].segments
    assert (view.task, answer) == ("vqa", Text("two words\nanother", supervised=True))
    assert isinstance(question, Text)
    assert not question.supervised


@pytest.mark.parametrize(
    ("language", "text", "asked"),
    [
        ("zh", "abc", "什么"),
        ("und", "汉字在这里 abc", "什么"),
        ("und", "letters 汉字", "What"),
        ("fr", "été", "What"),
    ],
)
def test_a_page_is_asked_about_in_its_language(language: str, text: str, asked: str) -> None:
    """The question is in the page's language; where that is not known, in that of most of its characters."""
    _, view = text_views((TextLine(text, _quad(1)),), language, whole=True)
    question = view.turns[0].segments[1]
    assert isinstance(question, Text)
    assert asked in question.text
    assert view.language == language


def test_the_markup_writes_a_page() -> None:
    """As Qwen-VL's text the sample holds its lines in order, each with a quad."""
    (view,) = text_views(LINES, "en")
    text = render(_sample(view)).text
    assert "OCR with grounding:" in text
    assert text.count("<quad>") == len(LINES)
