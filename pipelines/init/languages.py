"""The languages of some captions, as a build tells them."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from filters.caption import Captions
from filters.language import UNDETERMINED, Language
from filters.scripts import Scripts
from schemas.signals import CaptionSettings, LanguageSettings


def languages(captions: Sequence[str]) -> Counter[str]:
    """Returns how many captions are in each language that is determined."""
    cleaned = Captions(CaptionSettings()).measure(pa.array(captions, pa.string()))["caption"]
    scripts = Scripts().measure(cleaned)["scripts"]
    found = Language(LanguageSettings()).measure(cleaned, scripts)["language"].to_pylist()
    return Counter(language for language in found if language not in (None, UNDETERMINED))
