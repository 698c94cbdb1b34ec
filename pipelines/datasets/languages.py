"""The languages of views, where the signal of a text alone is not sure.

A language model is sure of sentences, and guesses at words. So a long text of which it is sure is in the language that
it says. What it says of a short or an unsure text must be a language of other texts: of the same image, or of the same
shard. Where it is none, the text is in the language of most of them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from filters.language import UNDETERMINED

SURE: Final = 0.5
"""Below this score a language is a guess, as for the rule `language`."""
_SHORT: Final = 20
"""A text of so many letters does not stand alone; they are the letters of three or four words."""
_COMMON: Final = 0.05
"""Of the texts in a script, so many are in a language that a short text which is unsure may be in it."""
_RARE: Final = 0.01
"""Of the texts in a script, so many are in a language that another text may be in it."""
_TELLING: Final = frozenset(("Han", "Hiragana", "Katakana", "Hangul"))
"""Scripts of which a few characters say the language."""

Spoken = tuple[str, str]
"""The image that a text belongs to, and the text."""


class Heard(NamedTuple):
    """The signals of a text: its language with the score, its script, and the letters that it has of that."""

    language: str
    score: float
    script: str
    letters: int

    @property
    def is_sure(self) -> bool:
        """Returns whether the score is that of a language which the model is sure of."""
        return self.language != UNDETERMINED and self.score >= SURE

    @property
    def is_short(self) -> bool:
        """Returns whether the text is too short to stand alone."""
        return self.letters <= _SHORT and self.script not in _TELLING


def settled(heard: Mapping[Spoken, Heard]) -> dict[Spoken, str]:
    """Returns the language of each text of a shard."""
    by_image: dict[str, list[Heard]] = {}
    for (image, _), one in heard.items():
        by_image.setdefault(image, []).append(one)
    shard = _proved(heard.values()) or _counted(one for one in heard.values() if one.is_sure)
    images = {image: _proved(own) for image, own in by_image.items()}
    nothing: Counter[str] = Counter()
    return {
        spoken: _language(one, images[spoken[0]].get(one.script, nothing), shard.get(one.script, nothing))
        for spoken, one in heard.items()
    }


def _proved(heard: Iterable[Heard]) -> dict[str, Counter[str]]:
    return _counted(one for one in heard if one.is_sure and not one.is_short)


def _counted(heard: Iterable[Heard]) -> dict[str, Counter[str]]:
    """Returns by script how many texts are in each language."""
    found: dict[str, Counter[str]] = {}
    for one in heard:
        found.setdefault(one.script, Counter())[one.language] += 1
    return found


def _language(one: Heard, image: Counter[str], shard: Counter[str]) -> str:
    """Returns the language of a text, by those of the texts in its script of its image and of its shard."""
    if one.language != UNDETERMINED:
        # a sure text counts for one of its language, so that among a few texts it stands alone
        count = shard[one.language] + one.is_sure
        enough = (_COMMON if one.is_short and not one.is_sure else _RARE) * shard.total()
        is_told = image[one.language] > 0 or (count > 0 and count >= enough)
        if is_told or (one.is_sure and not one.is_short):
            return one.language
    for others in (image, shard):
        most, count = min(others.items(), key=lambda found: (-found[1], found[0]), default=(UNDETERMINED, 0))
        if 2 * count > others.total():
            return most
    return UNDETERMINED if one.is_short else one.language
