"""The words of every language."""

import string

import pytest

from synth.backgrounds import GROUNDS
from synth.photos import PHOTOS
from synth.scenes import COLOURS, SHAPES, SIZES
from synth.words import LANGUAGES, PHOTO_LANGUAGES, Noun

# by hand, from grammars: gender, number and case where the language has them
PHRASES = [
    ("en", Noun("star", "orange", 1), "an orange star"),
    ("en", Noun("cross", "red", 2), "two red crosses"),
    ("en", Noun("star", "orange", 1, "small"), "a small orange star"),
    ("zh", Noun("circle", "red", 1, "small"), "一个红色的小圆形"),
    ("zh", Noun("star", "blue", 2), "两个蓝色的星星"),
    ("de", Noun("circle", "red", 1, "small"), "ein kleiner roter Kreis"),
    ("de", Noun("diamond", "red", 1), "eine rote Raute"),
    ("de", Noun("heart", "white", 3), "drei weiße Herzen"),
    ("es", Noun("star", "red", 2), "dos estrellas rojas"),
    ("es", Noun("heart", "blue", 3), "tres corazones azules"),
    ("fr", Noun("star", "green", 1, "large"), "une grande étoile verte"),
    ("fr", Noun("cross", "white", 2), "deux croix blanches"),
    ("pl", Noun("star", "red", 2), "dwie czerwone gwiazdy"),
    ("pl", Noun("circle", "red", 1, "small"), "małe czerwone koło"),
    ("ru", Noun("circle", "red", 2), "два красных круга"),
    ("ru", Noun("star", "blue", 3), "три синие звезды"),
    ("ru", Noun("heart", "blue", 1), "синее сердце"),
    ("vi", Noun("circle", "red", 1, "small"), "một hình tròn nhỏ màu đỏ"),
    ("ja", Noun("star", "red", 2), "二つの赤い星"),
    ("ko", Noun("circle", "red", 2), "빨간 원 두 개"),
    ("ar", Noun("circle", "red", 2), "دائرتان حمراوان"),
    ("ar", Noun("circle", "red", 3), "ثلاث دوائر حمراء"),
    ("ar", Noun("square", "red", 3), "ثلاثة مربعات حمراء"),
]


@pytest.mark.parametrize(("language", "noun", "expected"), PHRASES)
def test_phrases_agree(language: str, noun: Noun, expected: str) -> None:
    """Articles, adjectives and numbers take the forms that the noun asks for."""
    assert LANGUAGES[language].noun(noun) == expected


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_object_has_its_own_phrase(code: str) -> None:
    """No two kinds of object, sizes and counts share a phrase, so a phrase says which is meant."""
    sizes = [None, "small", "large"]
    nouns = [Noun(s, c, n, size) for s in SHAPES for c in COLOURS for n in (1, 2, 3, 4) for size in sizes]
    assert len({LANGUAGES[code].noun(noun) for noun in nouns}) == len(nouns)
    assert set(SIZES) == {"small", "medium", "large"}


@pytest.mark.parametrize("code", LANGUAGES)
def test_frames_have_the_fields_that_captions_fill(code: str) -> None:
    """Every frame of a language names just the fields that it is filled with."""
    language = LANGUAGES[code]
    wanted = {
        ("things",): language.lists,
        ("ground", "things"): language.grounded,
        ("a", "b"): (*language.left, *language.above),
        ("things", "total"): (language.counted,),
        ("thing",): language.photos,
    }
    for fields, frames in wanted.items():
        for frame in frames:
            assert sorted(name for _, name, _, _ in string.Formatter().parse(frame) if name) == list(fields)
    assert set(language.grounds) == set(GROUNDS)
    assert set(language.totals) == {2, 3, 4}


def test_every_photograph_has_words_in_every_photo_language() -> None:
    """No photograph is without a phrase, and English and Chinese have several."""
    for code in PHOTO_LANGUAGES:
        words = LANGUAGES[code].photographs
        assert set(words) == set(PHOTOS)
        assert code not in ("en", "zh") or min(map(len, words.values())) >= 3
