"""Questions on scenes: every answer is true of the scene, in English and Chinese, and no kind prevails."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.captions import phrase, singles
from synth.scenes import COLOURS, SHAPES, Kit, Object, Scene, draw, relation
from synth.seeds import generator
from synth.views import ASKED, KINDS, Asked, questions

WORDS = {
    "en": {
        "where": re.compile(r"Is the (.+) left, right, above or below the (.+)\?"),
        "exists": re.compile(r"Is there an? (.+)\?"),
        "sides": {"left": "left", "right": "right", "above": "above", "below": "below"},
        "numbers": {"one": 1, "two": 2, "three": 3, "four": 4},
        "yes": "yes",
    },
    "zh": {
        "where": re.compile(r"(.+?)在(.+)的左边、右边、上面还是下面？"),
        "exists": re.compile(r"图中有(.+)吗？"),
        "sides": {"左边": "left", "右边": "right", "上面": "above", "下面": "below"},
        "numbers": {"一个": 1, "两个": 2, "三个": 3, "四个": 4},
        "yes": "有",
    },
}


def scene(seed: int) -> Scene:
    """A scene of that number."""
    return draw(generator(seed, "questions"))


def named(found: Scene, words: str, language: str) -> Object:
    """The one object that words stand for."""
    (item,) = [one for one in singles(found) if phrase(one, language) == words]
    return item


def is_true(found: Scene, asked: Asked, language: str) -> bool:
    """Whether the answer holds, judged from the scene's parameters by another way than they were made."""
    words = WORDS[language]
    if asked.kind == "where":
        match = words["where"].fullmatch(asked.question)
        one, two = (named(found, match.group(at), language) for at in (1, 2))
        said = words["sides"][asked.answer]
        across, down = one.x - two.x, one.y - two.y
        holds = {"left": across < 0, "right": across > 0, "above": down < 0, "below": down > 0}[said]
        along = abs(across) > abs(down) if said in ("left", "right") else abs(down) > abs(across)
        return holds and along and relation(one, two) == said
    if asked.kind == "exists":
        name = words["exists"].fullmatch(asked.question).group(1)
        there = any(phrase(one, language) == name for one in found.objects)
        return there == (asked.answer == words["yes"])
    if asked.kind == "count":
        number = words["numbers"][asked.answer]
        shapes = [one for one in SHAPES if re.search(rf"{said_shape(one, language)}", asked.question)]
        if "How many objects are there" in asked.question or "几个物体" in asked.question:
            return number == len(found.objects)
        longest = max(shapes, key=lambda one: len(said_shape(one, language)))
        return number == sum(one.shape == longest for one in found.objects)
    matches = [one for one in found.objects if fits(one, asked, language)]
    return len(matches) == 1


def said_shape(shape: str, language: str) -> str:
    """The bare word of a shape: what its phrases end with in every colour."""
    items = [phrase(Object(shape, colour, "medium", (0, 0, 0), 0, 0, 0, 0), language) for colour in COLOURS]
    end = 1
    while all(one.endswith(items[0][-end:]) for one in items) and end <= len(items[0]):
        end += 1
    return items[0][-(end - 1) :].strip().removeprefix("色的").removeprefix("的")


def fits(item: Object, asked: Asked, language: str) -> bool:
    """Whether an object is the one asked about, with the answer given (colour and shape questions)."""
    words = phrase(item, language)
    shape = said_shape(item.shape, language)
    colour = words.removesuffix(shape).strip()
    if asked.kind == "colour":
        return shape in asked.question and colour.rstrip("的") == asked.answer.rstrip("的")
    return colour in asked.question and shape == asked.answer


@given(st.integers(0, 20_000), st.sampled_from(ASKED))
@settings(max_examples=150, deadline=None)
def test_every_answer_is_true_of_the_scene(seed: int, language: str) -> None:
    """Every question that could be asked of a scene, of each kind, has the answer that the scene gives."""
    found = scene(seed)
    for kind, maker in KINDS.items():
        for asked in maker(found, language, generator(seed, "asked")):
            assert asked.kind == kind
            assert is_true(found, asked, language), (asked, found)


@pytest.mark.parametrize("language", ASKED)
def test_no_kind_prevails(language: str) -> None:
    """Of three questions a scene over 400 scenes, each kind has its part and none 30 % or more."""
    kinds = Counter(
        asked.kind
        for seed in range(400)
        for asked in questions(scene(seed), language, generator(seed, "asked"), 3)
    )
    assert set(kinds) == set(KINDS)
    assert max(kinds.values()) / kinds.total() < 0.3
    assert min(kinds.values()) / kinds.total() > 0.1


@given(st.integers(0, 20_000), st.sampled_from(ASKED), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_questions_replay_and_differ(seed: int, language: str, most: int) -> None:
    """Equal generators ask the same; no question stands twice; at most as many as wanted."""
    first, again = (questions(scene(seed), language, generator(seed, "asked"), most) for _ in range(2))
    assert first == again
    assert len({one.question for one in first}) == len(first) <= most
    chinese = all(any("\u4e00" <= letter <= "\u9fff" for letter in one.question) for one in first)
    assert chinese == (language == "zh") or not first


def test_yes_and_no_are_as_frequent() -> None:
    """Whether something is there is answered with yes about as often as with no."""
    answers = Counter(
        asked.answer
        for seed in range(600)
        for asked in questions(scene(seed), "en", generator(seed, "asked"), 5)
        if asked.kind == "exists"
    )
    assert 0.4 < answers["yes"] / answers.total() < 0.6


@given(st.integers(0, 10_000), st.sampled_from(ASKED))
@settings(max_examples=100, deadline=None)
def test_small_worlds_have_questions_too(seed: int, language: str) -> None:
    """Where a scene holds every kind there is, nothing is left to ask in vain for."""
    scene = draw(generator(seed, "test"), kit=Kit(shapes=("circle", "star"), colours=("red",)))
    asked = questions(scene, language, generator(seed, "words"), most=5)
    assert asked
    held = {(item.shape, item.colour) for item in scene.objects}
    if len(held) == 2:
        assert all(
            one.answer != {"en": "no", "zh": "没有"}[language] for one in asked if one.kind == "exists"
        )
