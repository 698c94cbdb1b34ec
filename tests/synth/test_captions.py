"""Captions are true of their pictures."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth import captions, photos, scenes
from synth.scenes import COLOURS, SHAPES, Scene
from synth.seeds import generator
from synth.words import LANGUAGES, PHOTO_LANGUAGES

NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4}
PHRASE = re.compile(
    rf"\b(an?|two|three|four) (?:(small|large) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})(?:e?s)?\b", re.I
)


def _drawn(seed: int) -> Scene:
    return scenes.draw(generator(seed, "test"))


@given(st.integers(0, 10_000), st.sampled_from(tuple(LANGUAGES)))
@settings(max_examples=300, deadline=None)
def test_captions_have_a_web_captions_length(seed: int, language: str) -> None:
    """In every language a caption of a scene is one line of 10 to 200 characters, with no field left over."""
    text = captions.caption(_drawn(seed), language, generator(seed, "words"))
    assert 10 <= len(text) <= 200
    assert not set("{}\n") & set(text)
    assert text == text.strip()
    assert "  " not in text


@given(st.integers(0, 10_000))
@settings(max_examples=300, deadline=None)
def test_english_captions_say_what_is_there(seed: int) -> None:
    """Read back, every noun phrase of an English caption has its count of objects in the scene."""
    scene = _drawn(seed)
    text = captions.caption(scene, "en", generator(seed, "words"))
    said = PHRASE.findall(text)
    assert said, text
    for number, size, colour, shape in said:
        alike = [item for item in scene.objects if (item.shape, item.colour) == (shape, colour)]
        assert len(alike) == NUMBERS[number.lower()], text
        assert not size or {item.size for item in alike} == {size}, text


@given(st.integers(0, 10_000))
@settings(max_examples=300, deadline=None)
def test_lists_go_from_left_to_right(seed: int) -> None:
    """What a caption lists comes by the leftmost object of each kind."""
    scene = _drawn(seed)
    text = captions.caption(scene, "en", generator(seed, "words"))
    if not re.search(r" (left|right|above|below|beneath|top|bottom|under) ", text):
        assert [_left(scene, shape, colour) for _, _, colour, shape in PHRASE.findall(text)] == sorted(
            {_left(scene, item.shape, item.colour) for item in scene.objects}
        )


def _left(scene: Scene, shape: str, colour: str) -> float:
    return min(item.x for item in scene.objects if (item.shape, item.colour) == (shape, colour))


@given(st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_relations_that_are_said_hold(seed: int) -> None:
    """`A to the left of B` is said only where it is so in the picture, and `above` likewise."""
    scene = _drawn(seed)
    text = captions.caption(scene, "en", generator(seed, "words"))
    for words, told in ((" to the left of ", "left"), (" above ", "above")):
        if words in text:
            (_, _, *first), (_, _, *second) = PHRASE.findall(text)
            a, b = (
                next(o for o in scene.objects if [o.colour, o.shape] == [w.lower() for w in name])
                for name in (first, second)
            )
            assert scenes.relation(a, b) == told


def test_captions_of_a_scene_vary() -> None:
    """One scene is described in many ways."""
    scene = _drawn(3)
    assert len({captions.caption(scene, "zh", generator(i, "words")) for i in range(60)}) >= 8


def test_the_phrase_of_an_object_is_bare() -> None:
    """`phrase` has neither article nor number, and a size only where it is asked for."""
    item = scenes.Object("star", "red", "small", (200, 0, 0), 0.5, 0.5, 0.2, 0.0)
    assert captions.phrase(item, "en") == "red star"
    assert captions.phrase(item, "en", size=True) == "small red star"
    assert captions.phrase(item, "zh") == "红色的星星"
    assert captions.phrase(item, "fr", size=True) == "petite étoile rouge"


@pytest.mark.parametrize("language", PHOTO_LANGUAGES)
def test_pairs_name_both_photographs(language: str) -> None:
    """The caption of a pair holds a phrase of each of its two photographs."""
    for seed in range(20):
        pair = photos.draw_pair(generator(seed, "pair"))
        text = captions.photo_caption(pair, language, generator(seed, "words")).lower()
        for crop in (pair.first, pair.second):
            phrases = LANGUAGES[language].photographs[crop.name]
            assert any(phrase.lower() in text for phrase in phrases), text
