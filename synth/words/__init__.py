"""The languages that scenes are described in, by their ISO 639-1 codes."""

from typing import Final

from synth.words.arabic import ARABIC
from synth.words.asian import JAPANESE, KOREAN, VIETNAMESE
from synth.words.chinese import CHINESE
from synth.words.english import ENGLISH
from synth.words.german import GERMAN
from synth.words.language import Language, Noun
from synth.words.romance import FRENCH, SPANISH
from synth.words.slavic import POLISH, RUSSIAN

LANGUAGES: Final[dict[str, Language]] = {
    language.code: language
    for language in (
        ENGLISH, CHINESE, VIETNAMESE, POLISH, SPANISH, FRENCH, GERMAN, JAPANESE, KOREAN, RUSSIAN, ARABIC,
    )
}  # fmt: skip
"""Every language, English and Chinese first."""

__all__ = ["LANGUAGES", "Language", "Noun"]
