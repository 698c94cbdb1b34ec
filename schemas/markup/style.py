"""The wording around a sample: prompts of the stage-2 templates and the system turn of ChatML."""

from dataclasses import dataclass
from typing import Final, Literal

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
