"""A page becomes one sample that the markup can write and read."""

from pathlib import Path

import pytest

from schemas.markup import render
from schemas.sample import Phrase, Sample, Text
from synth.documents import DocumentPage
from synth.page.maker import Page, PageMaker, PageSettings
from synth.page.sample import document_sample, ocr_sample
from synth.regions import TextLine, TextWord
from tests.synth.page.made_fonts import font


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """A page of a made font."""
    font(tmp_path / "made.ttf")
    return PageMaker(PageSettings(1, "en", fonts=tmp_path), ("some words to be read and told",)).page(0)


def test_an_ocr_sample_holds_the_lines_with_their_quads(page: Page) -> None:
    """Phrase by phrase the sample is the page's lines, all of it supervised."""
    sample = ocr_sample(page, source="synth")
    phrases = [segment for segment in sample.turns[0].segments if isinstance(segment, Phrase)]
    assert [(phrase.phrase, phrase.quads) for phrase in phrases] == [
        (line.text, (line.quad,)) for line in page.lines
    ]
    assert all(phrase.supervised for phrase in phrases)
    assert (sample.task, sample.images[0].width) == ("ocr", page.width)
    assert Sample.from_json(sample.to_json()) == sample


def test_words_may_stand_for_lines(page: Page) -> None:
    """Level `word` gives one phrase a word; any other level is an error."""
    sample = ocr_sample(page, source="synth", level="word")
    assert len(sample.turns[0].segments) - 1 == sum(len(line.words) for line in page.lines)
    with pytest.raises(ValueError, match="level"):
        ocr_sample(page, source="synth", level="letter")


def test_a_document_sample_asks_for_the_whole_text(page: Page) -> None:
    """It has a question without loss and the page's text as its answer."""
    sample = document_sample(page, source="synth")
    _, question, answer = sample.turns[0].segments
    assert isinstance(question, Text)
    assert not question.supervised
    assert answer == Text(page.text, supervised=True)
    assert sample.key != ocr_sample(page, source="synth").key


def test_the_markup_writes_and_reads_a_page(page: Page) -> None:
    """As Qwen-VL's text the sample holds its lines in order, and parses back to as many phrases."""
    sample = ocr_sample(page, source="synth")
    text = render(sample).text
    assert text.count("<quad>") == len(page.lines)
    assert "OCR with grounding:" in text


def test_a_page_of_a_document_makes_a_sample_too() -> None:
    """Its language is what is said, else und."""
    quad = ((1.0, 2.0), (30.0, 2.0), (30.0, 9.0), (1.0, 9.0))
    real = DocumentPage(0, b"jpeg", 40, 20, (TextLine("real", quad, (TextWord("real", quad),)),), {})
    assert ocr_sample(real, source="pdf", licence="CC-BY-4.0").language == "und"
    assert document_sample(real, source="pdf", licence="CC-BY-4.0", language="zh").language == "zh"
