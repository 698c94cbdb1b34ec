"""The wording around a sample: prompts of the stage-2 templates and the system turn of ChatML.

Which samples fit the stage-2 templates (arXiv 2308.12966, B.1), and where their targets begin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from schemas.markup.reader import MarkupError
from schemas.sample import TASKS, ImageRef, Phrase, Segment, Text

LANGUAGES: Final = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "ms": "Malay",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sr": "Serbian",
    "sv": "Swedish",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""How prompts name a language; any other is called by its code."""


@dataclass(frozen=True, slots=True)
class Style:
    """How samples are worded. An empty prompt is left out, with the space that would follow it.

    `form`: `auto` writes a sample of one document turn by its task's template and any other as ChatML.
    `coarse`: coordinates that are taught are written as the nearest multiple of this, for who is to learn first
    what a box is of, and then where exactly it ends; 1 is the format's own.
    """

    caption: str = "Generate the caption in {language}:"
    grounding: str = "Generate the caption in {language} with grounding:"
    ocr: str = "OCR with grounding:"
    answer: str = " Answer:"
    system: str = "You are a helpful assistant."
    form: Literal["auto", "document", "chat"] = "auto"
    coarse: int = 1

    def cue(self, task: str, language: str) -> str:
        """The words of the task's template that stand before what is taught."""
        named = LANGUAGES.get(language, language)
        match task:
            case "caption":
                return self.caption.format(language=named)
            case "grounding":
                return self.grounding.format(language=named)
            case "ocr":
                return self.ocr
            case "vqa":
                return self.answer
            case "grounded_caption":
                return " is"
        return ""


STAGE2: Final = Style()
"""Multi-task pre-training, appendix B.1."""
STAGE1: Final = Style(caption="")
"""Picture, caption, end; the paper gives no prompt for stage 1."""
EVALUATION: Final = Style(caption="Describe the image in {language}:")
"""The caption prompt of the published evaluation scripts."""


TEMPLATES: Final = {name: task.template for name, task in TASKS.items() if task.template}
"""The tasks that have a template, with what a sample must look like to fit it; others are written plainly."""


def fit(segments: Sequence[Segment], task: str) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """The segments before what is taught, and those that are taught; MarkupError if they do not fit."""
    first = next((at for at, one in enumerate(segments) if taught(one)), len(segments))
    prefix, target = tuple(segments[:first]), tuple(segments[first:])
    if not target or not all(taught(one) for one in target) or not _fits(prefix, target, task):
        raise MarkupError(f"an example of task {task} must be {TEMPLATES[task]}")
    return prefix, target


def taught(segment: Segment) -> bool:
    """Whether a segment is supervised; a picture never is."""
    return not isinstance(segment, ImageRef) and segment.supervised


def _fits(prefix: tuple[Segment, ...], target: tuple[Segment, ...], task: str) -> bool:
    pictures = all(isinstance(one, ImageRef) for one in prefix)
    if task == "text":
        return not prefix and all(isinstance(one, Text) for one in target)
    if task == "vqa":
        return not all(isinstance(one, ImageRef) for one in prefix)
    if task in ("referring", "grounded_caption"):
        phrase = target[0]
        regions = isinstance(phrase, Phrase) and bool(phrase.boxes or phrase.quads)
        return pictures and len(prefix) == 1 and len(target) == 1 and regions
    if task == "caption":
        return pictures and bool(prefix) and all(isinstance(one, Text) for one in target)
    return pictures and bool(prefix)
