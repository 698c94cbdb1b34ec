"""PaliGemma's prefixes and suffixes, and Kosmos-2's grounded texts: one image and its words a record.

{"image", "prefix": "caption en", "suffix": "A dog."}
{"image", "text": "<grounding><phrase>A dog</phrase><object><patch_index_0000><patch_index_0529></object> runs."}
"""

from collections.abc import Mapping
from typing import Any, Final

from pipelines.datasets.dataset import Dataset, Glimpse, Made, having
from pipelines.datasets.drafts import (
    REGION_TASKS,
    SHOWN,
    About,
    Draft,
    NamedImage,
    check_unicode,
    label,
    named,
    own_licence,
    region_drafts,
    text_or_none,
    with_about,
    words,
)
from pipelines.datasets.reasons import Refused
from pipelines.datasets.records import entries_or_lines
from schemas.dialects.dialogue import THOUSANDTHS
from schemas.dialects.kosmos2 import from_kosmos2
from schemas.dialects.paligemma import Pair, from_paligemma
from schemas.markup.reader import MarkupError
from schemas.sample import Phrase, Segment, Text, Turn


def _paligemma(value: Mapping[str, Any]) -> Made:
    """Returns a caption, a question with its answer, a page's text, or both views of each detected phrase."""
    pair = Pair(_text(value, "prefix"), _text(value, "suffix"))
    try:
        task, segments = from_paligemma(pair, THOUSANDTHS)
    except MarkupError as error:
        raise Refused("bad_markup", str(error)) from error
    if task != "grounding" and "<loc" in pair.suffix:
        raise Refused("bad_markup", f"a suffix of {task} holds locations")
    parts = pair.prefix.split(" ")
    language = label(parts[1] if task in ("caption", "vqa") and len(parts) > 1 else None)
    image = NamedImage(named(value.get("image")))
    if task != "grounding":
        words(pair.suffix, "empty_answer" if task == "vqa" else "empty_caption")
        if task == "vqa" and isinstance(segments[0], Text):
            words(segments[0].text, "empty_question")
        return _told(value, [_document(task, language, image, segments, relative=False)]), []
    drafts = []
    for phrase in segments:
        if isinstance(phrase, Phrase):
            _check_boxes(phrase)
            drafts += region_drafts(image, phrase, language, relative=True)
    return _told(value, drafts), []


def _kosmos2(value: Mapping[str, Any]) -> Made:
    """Returns a caption with boxes, or a caption where the text has no <grounding>."""
    text = _text(value, "text")
    image = NamedImage(named(value.get("image")))
    language = label(value.get("language"))
    if not text.startswith("<grounding>"):
        if "<patch_index_" in text:
            raise Refused("bad_markup", "a text with locations must begin with <grounding>")
        words(text, "empty_caption")
        return _told(value, [_document("caption", language, image, (Text(text, True),), relative=False)]), []
    try:
        segments = from_kosmos2(text, THOUSANDTHS)
    except MarkupError as error:
        raise Refused("bad_markup", str(error)) from error
    phrases = [one for one in segments if isinstance(one, Phrase)]
    if not any(one.boxes for one in phrases):
        raise Refused("no_regions")
    for phrase in phrases:
        _check_boxes(phrase)
    return _told(value, [_document("grounding", language, image, segments, relative=True)]), []


def _document(
    task: str, language: str, image: NamedImage, segments: tuple[Segment, ...], relative: bool
) -> Draft:
    return Draft(task, language, (image,), (Turn("document", (SHOWN, *segments)),), relative)


def _told(value: Mapping[str, Any], drafts: list[Draft]) -> list[Draft]:
    return with_about(drafts, About(text_or_none(value.get("id")), own_licence(value)))


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value[name]
    if not isinstance(text, str):
        raise Refused("bad_record", f"{name} is no text")
    check_unicode(text)
    return text


def _check_boxes(phrase: Phrase) -> None:
    for box in phrase.boxes:
        if box[0] > box[2] or box[1] > box[3]:
            raise Refused("box_order", f"a box of {phrase.phrase[:80]!r} ends before it begins")


def _fits_kosmos2(seen: Glimpse) -> float:
    """Returns how well a file fits Kosmos-2's texts, of which captions without marks are some too."""
    is_marked = "<grounding>" in seen.text or "<patch_index_" in seen.text
    return having("image", "text")(seen) and (3.0 if is_marked else 0.5)


PALIGEMMA: Final = Dataset(
    *("PaliGemma's JSON lines: image, prefix, suffix", "a line", ("caption", "vqa", "ocr", *REGION_TASKS)),
    *(_paligemma, entries_or_lines("prefix")),
    recognised=having("image", "prefix", "suffix"),
    many=("*.jsonl", "*.json"),
)
KOSMOS2: Final = Dataset(
    *("JSON lines with Kosmos-2's grounded text: image, text", "a line", ("caption", "grounding")),
    *(_kosmos2, entries_or_lines("text")),
    recognised=_fits_kosmos2,
    many=("*.jsonl", "*.json"),
)
