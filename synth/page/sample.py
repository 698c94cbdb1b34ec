"""Samples from pages, rendered or real: the OCR task with quads, and the whole text as an answer."""

import hashlib
from typing import Final

from schemas.row import pair_key
from schemas.sample import Image, ImageRef, Phrase, Sample, Segment, Text, Turn, sample_key
from synth.documents import DocumentPage
from synth.page.maker import Page

LICENCE: Final = "Apache-2.0"
"""Of pages set from the project's own text; text given from outside, and documents, keep their own."""

QUESTIONS: Final = {"en": "What is written in this picture?", "zh": "这张图片上写了什么？"}


def page_key(page: Page | DocumentPage, source: str) -> str:
    """The key of a page: what it shows and says, never where it was made."""
    digest = hashlib.sha256(page.image).hexdigest()
    return pair_key(source, None, digest, page.text.encode())


def ocr_sample(
    page: Page | DocumentPage,
    *,
    source: str,
    split: str = "train",
    licence: str = LICENCE,
    language: str | None = None,
    level: str = "line",
) -> Sample:
    """The `ocr` sample of a page: its lines (or words: level "word") in reading order, each with a quad.

    `language` is that of the page, which real documents do not tell (default then: und).
    """
    if level not in ("line", "word"):
        raise ValueError(f"level must be line or word, not {level!r}")
    regions = page.lines if level == "line" else tuple(word for line in page.lines for word in line.words)
    phrases = tuple(Phrase(one.text, quads=(one.quad,), supervised=True) for one in regions)
    return _sample(page, "ocr", (ImageRef(0), *phrases), (source, split, licence), _language(page, language))


def document_sample(
    page: Page | DocumentPage,
    *,
    source: str,
    split: str = "train",
    licence: str = LICENCE,
    language: str | None = None,
) -> Sample:
    """A `vqa` sample that asks for all the text of a page, as SynthDoG's own labels have it: no places."""
    spoken = _language(page, language)
    question = Text(QUESTIONS.get(spoken, QUESTIONS["en"]))
    segments = (ImageRef(0), question, Text(page.text, supervised=True))
    return _sample(page, "vqa", segments, (source, split, licence), spoken)


def _language(page: Page | DocumentPage, language: str | None) -> str:
    return language or (page.language if isinstance(page, Page) else "und")


def _sample(
    page: Page | DocumentPage,
    task: str,
    segments: tuple[Segment, ...],
    origin: tuple[str, str, str],
    language: str,
) -> Sample:
    source, split, licence = origin
    picture = Image("JPEG", page.width, page.height, hashlib.sha256(page.image).hexdigest())
    key = sample_key(page_key(page, source), task, 0)
    return Sample(key, task, split, language, source, licence, (picture,), (Turn("document", segments),))
