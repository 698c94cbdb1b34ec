"""Pairs that the embedded scorer learns from: what is called false is false."""

from hypothesis import assume, given
from hypothesis import strategies as st

from synth import scenes
from synth.photos import Crop, Pair
from synth.scenes import Scene
from synth.seeds import generator
from tools import clip_pairs
from tools.clip_pairs import EDITS, FALSE, TRUE, UNSURE, Item

SEEDS = st.integers(0, 2**32)
LANGUAGES = st.sampled_from(["en", "zh"])


def looks(scene: Scene) -> list[tuple[str, str]]:
    return sorted((one.shape, one.colour) for one in scene.objects)


@given(SEEDS, st.sampled_from(EDITS))
def test_a_near_miss_differs_in_one_thing(seed: int, edit: str) -> None:
    """Each kind of edit changes what it is called after, and nothing else that captions speak of."""
    rng = generator(seed, "test")
    scene = scenes.draw(rng)
    other = clip_pairs.edited(scene, edit, rng)
    assume(other is not None)
    assert other is not None
    same_ground = other.background == scene.background
    if edit == "count":
        assert len(other.objects) == len(scene.objects) - 1
    elif edit == "ground":
        assert other.background.kind != scene.background.kind
        assert other.objects == scene.objects
    elif edit == "place":
        assert looks(other) == looks(scene)
        assert other != scene
    else:
        assert looks(other) != looks(scene)
    assert same_ground or edit == "ground"
    if edit == "binding":
        assert sorted(one.shape for one in other.objects) == sorted(one.shape for one in scene.objects)
        assert sorted(one.colour for one in other.objects) == sorted(one.colour for one in scene.objects)


@given(SEEDS, LANGUAGES)
def test_a_caption_is_true_of_its_own_picture(seed: int, language: str) -> None:
    """The diagonal of a truth table is true, and a table has a row a picture and a column a caption."""
    rng = generator(seed, "test")
    first = [clip_pairs.draw(rng, language) for _ in range(4)]
    items = first + [clip_pairs.near_miss(item, rng, language) for item in first]
    table = clip_pairs.truth(items, items)
    assert table.shape == (8, 8)
    assert (table.diagonal() == TRUE).all()


@given(SEEDS, LANGUAGES)
def test_what_stands_where_is_judged_by_the_places(seed: int, language: str) -> None:
    """After two objects change places a caption on them is false, one on others may stay true."""
    rng = generator(seed, "test")
    scene = scenes.draw(rng)
    other = clip_pairs.edited(scene, "place", rng)
    assume(other is not None)
    assert other is not None
    said = clip_pairs.relations(scene, language)
    assume(said)
    text = rng.choice(said)
    items = [Item(scene, text, language), Item(other, "anything else", language, "place")]
    judged = clip_pairs.truth(items, items)[1, 0]
    assert judged == (TRUE if text in clip_pairs.relations(other, language) else FALSE)


@given(SEEDS, LANGUAGES)
def test_scenes_of_the_same_objects_are_not_judged(seed: int, language: str) -> None:
    """A caption of one scene is not called false of another that shows the same objects."""
    rng = generator(seed, "test")
    scene = scenes.draw(rng)
    other = clip_pairs.edited(scene, "ground", rng)
    assume(other is not None)
    assert other is not None
    items = [Item(scene, "one", language), Item(other, "two", language)]
    assert clip_pairs.truth(items, items)[0, 1] == UNSURE


def test_photographs_are_judged_by_what_they_show() -> None:
    """A crop's caption holds for every crop of its photograph, and is left open where it shows in part."""
    cat, cup = (Crop(name, (0.2, 0.2, 0.8, 0.8), False) for name in ("chelsea", "coffee"))
    items = [
        Item(cat, "a cat", "en"),
        Item(Crop("chelsea", (0.1, 0.1, 0.9, 0.9), True), "a striped cat", "en"),
        Item(cup, "a cup", "en"),
        Item(Pair(cat, cup, True), "a cat left of a cup", "en"),
        Item(Pair(cup, cat, False), "a cup above a cat", "en"),
        Item(cup, "a red cup", "en"),
    ]
    table = clip_pairs.truth(items, items)
    assert table[1, 0] == TRUE
    assert table[2, 0] == FALSE
    assert table[3, 0] == UNSURE
    assert table[0, 3] == FALSE
    assert table[4, 3] == FALSE
