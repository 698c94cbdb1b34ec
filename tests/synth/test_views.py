"""Views of a scene: each task's sample says what the picture shows, where it shows it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.sample import ImageRef, Phrase, Text, Turn
from synth.captions import phrase, singles
from synth.scenes import boxes, draw
from synth.seeds import generator
from synth.views import ASKED, SHOWN, View, dialogue, views

TASKS = {"caption", "grounding", "referring", "grounded_caption", "vqa", "chat"}
CASES = given(st.integers(0, 20_000), st.sampled_from(ASKED))


def made(seed: int, language: str) -> tuple[list[View], dict[str, tuple[float, ...]], tuple[int, int]]:
    """The views of a scene, the boxes of the objects that words can tell apart, its size."""
    scene = draw(generator(seed, "views"))
    size = scene.frame(160)
    places = dict(zip(scene.objects, boxes(scene, size), strict=True))
    named = {phrase(one, language): places[one] for one in singles(scene)}
    return views(scene, size, language, generator(seed, "made")), named, size


def phrases(turns: tuple[Turn, ...]) -> list[Phrase]:
    """All phrases with regions."""
    return [one for turn in turns for one in turn.segments if isinstance(one, Phrase) and one.boxes]


@CASES
@settings(max_examples=60, deadline=None)
def test_every_box_is_within_its_picture(seed: int, language: str) -> None:
    """No box leaves the picture or is empty."""
    found, _, (width, height) = made(seed, language)
    for view in found:
        for one in phrases(view.turns):
            for x1, y1, x2, y2 in one.boxes:
                assert 0 <= x1 < x2 <= width
                assert 0 <= y1 < y2 <= height


@CASES
@settings(max_examples=60, deadline=None)
def test_a_phrase_of_one_object_has_its_box(seed: int, language: str) -> None:
    """Phrase to box and box to phrase name objects that words tell apart, with the box of that object."""
    found, named, _ = made(seed, language)
    for view in found:
        if view.task in ("referring", "grounded_caption"):
            (one,) = phrases(view.turns)
            assert one.boxes == (tuple(map(float, named[one.phrase])),) or one.boxes == (named[one.phrase],)
    regions = [[v.turns for v in found if v.task == task] for task in ("referring", "grounded_caption")]
    assert regions[0] == regions[1]


@CASES
@settings(max_examples=60, deadline=None)
def test_a_grounded_caption_boxes_every_object_once(seed: int, language: str) -> None:
    """Its phrases hold each object's box exactly once, and between them stand plain words, all taught."""
    scene = draw(generator(seed, "views"))
    size = scene.frame(160)
    (view,) = [one for one in made(seed, language)[0] if one.task == "grounding"]
    held = sorted(box for one in phrases(view.turns) for box in one.boxes)
    assert held == sorted(tuple(box) for box in boxes(scene, size))
    for one in view.turns[0].segments:
        if isinstance(one, Text | Phrase):
            assert one.supervised
            words = one.text if isinstance(one, Text) else one.phrase
            assert "\x00" not in words
            assert "{" not in words


@CASES
@settings(max_examples=60, deadline=None)
def test_views_show_the_picture_first_and_teach_answers_only(seed: int, language: str) -> None:
    """One picture, shown at the start; questions are never taught, answers always; dialogues alternate."""
    found, _, _ = made(seed, language)
    assert {view.task for view in found} <= TASKS
    assert {"caption", "grounding", "vqa", "chat"} <= {view.task for view in found}
    for view in found:
        assert view.language == language
        shown = [one for turn in view.turns for one in turn.segments if isinstance(one, ImageRef)]
        assert shown == [ImageRef(0)]
        assert view.turns[0].segments[0] == ImageRef(0)
        if view.task == "vqa":
            asked, answered = view.turns[0].segments[1:]
            assert (asked.supervised, answered.supervised) == (False, True)
        if view.task == "chat":
            assert [turn.role for turn in view.turns] == ["user", "assistant"] * (len(view.turns) // 2)
            for turn in view.turns:
                for one in turn.segments:
                    assert isinstance(one, ImageRef) or one.supervised == (turn.role == "assistant")


def test_equal_generators_give_equal_views() -> None:
    """Views replay."""
    assert made(5, "en") == made(5, "en")
    assert made(5, "en")[0] != made(6, "en")[0]


def test_another_language_is_refused() -> None:
    """Languages without questions are named, not guessed at."""
    with pytest.raises(ValueError, match="asked about in en, zh"):
        made(1, "de")


def test_a_dialogue_may_begin_with_where() -> None:
    """Where an object is may be asked at any turn: in a tenth of the dialogues or more it comes first, or last."""
    first = last = 0
    for seed in range(200):
        scene = draw(generator(seed, "test"))
        turns = dialogue(scene, scene.frame(128), "en", generator(seed, "words")).turns
        where = [at for at in range(1, len(turns), 2) if isinstance(turns[at].segments[0], Phrase)]
        first += where == [1]
        last += where == [len(turns) - 1]
        assert SHOWN in turns[0].segments
        assert not any(SHOWN in turn.segments for turn in turns[1:])
    assert first >= 20
    assert last >= 20
