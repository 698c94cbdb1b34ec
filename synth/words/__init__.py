"""The words of the languages that scenes, photographs and pages speak; a YAML file a language, and its grammar here.

What photographs show is said in noun phrases that any crop of theirs keeps true: none speaks of left and right, of
writing, or of anything near the edge, for crops are cut and mirrored. Frames take phrases in their plain form
(nominative), so that no frame can demand a case that a phrase does not have.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

import yaml

Forms = str | Sequence[str]
"""A word that never changes, or its forms."""


@dataclass(frozen=True, slots=True)
class Noun:
    """What a noun phrase is to say: `count` objects of one shape and colour, perhaps their size.

    `count` 0 asks for the bare phrase, with neither article nor number: `red circle`.
    """

    shape: str
    colour: str
    count: int = 1
    size: str | None = None


@dataclass(frozen=True, slots=True)
class Language:
    """Words, frames and the little grammar of one language, as its YAML file has them.

    `phrase` says in what order a noun phrase stands. `shapes` are forms by count (one, two, more), after the gender
    where there are genders; `agreement` gives for each gender which form of an adjective goes with one, two, more.
    Adjectives (`colours`, `sizes`) are lists of forms, or stems that take `endings`. `numbers` are words by count, or
    by count and gender.

    `lists` hold {things}; `grounded` {things} and {ground}; `left` and `above` hold {a} and {b}, where a is left of
    b, or above it, and the last of either suits photographs too; `counted` holds {total} and {things}; `photos` hold
    {thing}, one of `photographs`. `prose` are sentences that pages are set from: `{n}`, `{year}`, `{price}`, `{clock}`
    and `{code}` stand for figures that are drawn anew each time.
    """

    code: str
    phrase: str
    numbers: Mapping[int, str | Mapping[str, str]]
    sizes: Mapping[str, Forms]
    colours: Mapping[str, Forms]
    shapes: Mapping[str, Sequence[str]]
    lists: Sequence[str]
    grounded: Sequence[str]
    left: Sequence[str]
    above: Sequence[str]
    counted: str
    totals: Mapping[int, str]
    grounds: Mapping[str, str]
    agreement: Mapping[str, Sequence[int]] = field(default_factory=dict)
    endings: Sequence[str] = ("",)
    comma: str = ", "
    last: str = " and "
    stop: str = "."
    photos: Sequence[str] = ("{thing}",)
    photographs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    prose: Sequence[str] = ()

    def noun(self, said: Noun) -> str:
        """Returns the noun phrase: `red circle`, `a small red circle`, `two red circles`."""
        gender, *forms = self.shapes[said.shape] if self.agreement else ("", *self.shapes[said.shape])
        at = _for_count(self.agreement.get(gender, (0,)), said.count)
        number = self.numbers.get(said.count, "")
        words = {
            "number": number if isinstance(number, str) else number[gender],
            "size": self._adjective(self.sizes.get(said.size or "", ""), at),
            "colour": self._adjective(self.colours[said.colour], at),
            "shape": _for_count(forms, said.count),
        }
        text = " ".join(self.phrase.format_map(words).split())
        return re.sub("^a (?=[aeiou])", "an ", text) if self.code == "en" else text

    def _adjective(self, word: Forms, at: int) -> str:
        return (word and word + self.endings[at]) if isinstance(word, str) else word[at]

    def join(self, phrases: Sequence[str]) -> str:
        """Returns the phrases as one list: commas, and the word for `and` before the last."""
        if len(phrases) < 2:
            return "".join(phrases)
        return self.comma.join(phrases[:-1]) + self.last + phrases[-1]


def _for_count(forms: Sequence[Any], count: int) -> Any:
    """Returns the form for one, two, or more; the last form stands for all that follow."""
    return forms[min(max(count, 1), len(forms)) - 1]


def _read(code: str) -> Language:
    text = (files(__name__) / f"{code}.yaml").read_text("utf-8")
    return Language(code=code, **yaml.safe_load(text))


LANGUAGES: Final = {
    code: _read(code) for code in ("en", "zh", "vi", "pl", "es", "fr", "de", "ja", "ko", "ru", "ar")
}
"""Every language by its ISO 639-1 code."""

PHOTO_LANGUAGES: Final = tuple(code for code, language in LANGUAGES.items() if language.photographs)
"""The languages that every photograph has phrases in."""
