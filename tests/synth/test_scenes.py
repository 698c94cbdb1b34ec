"""Scenes: the parameters are the label."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synth import scenes
from synth.backgrounds import GROUNDS, Background
from synth.scenes import SHAPES, Object, Scene
from synth.seeds import generator

MAGENTA = (255, 0, 255)
SEEDS = st.integers(0, 10_000)


def _drawn(seed: int) -> Scene:
    return scenes.draw(generator(seed, "test"))


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_scene_replays_its_picture(seed: int) -> None:
    """Equal parameters render to equal pixels, and equal generators draw equal parameters."""
    scene = _drawn(seed)
    assert scene == _drawn(seed)
    size = scene.frame(160)
    assert scenes.render(scene, size).tobytes() == scenes.render(scene, size).tobytes()


@given(SEEDS, st.integers(64, 640))
@settings(max_examples=60, deadline=None)
def test_boxes_lie_within_the_picture_and_apart(seed: int, longer: int) -> None:
    """Every object has a box of its own: inside the picture, not empty, and over no other box."""
    scene = _drawn(seed)
    width, height = size = scene.frame(longer)
    boxes = scenes.boxes(scene, size)
    assert 1 <= len(boxes) == len(scene.objects) <= 4
    covered = np.zeros((height, width), int)
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        covered[y1:y2, x1:x2] += 1
    assert covered.max() == 1


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_box_is_where_the_object_changes_the_picture(seed: int) -> None:
    """On a flat ground that no object resembles, each object colours just the pixels of its box."""
    scene = _drawn(seed)
    flat = Background("gradient", (MAGENTA,) * 3, (1.0, 0.0), 0.3, 0.0, 0)
    size = scene.frame(320)
    for i, (x1, y1, x2, y2) in enumerate(scenes.boxes(scene, size)):
        alone = Scene(scene.width, scene.height, flat, scene.objects[i : i + 1])
        change = np.abs(np.asarray(scenes.render(alone, size), int) - MAGENTA).sum(2)
        rows, columns = np.nonzero(change > 110)
        assert abs(columns.min() - x1) <= 1
        assert abs(columns.max() + 1 - x2) <= 1
        assert abs(rows.min() - y1) <= 1
        assert abs(rows.max() + 1 - y2) <= 1


def test_the_drawn_colour_fills_the_object() -> None:
    """At the middle of a full shape the picture has the colour of the label."""
    for seed in range(40):
        scene = _drawn(seed)
        size = scene.frame(400)
        image = scenes.render(scene, size)
        for item, (x1, y1, x2, y2) in zip(scene.objects, scenes.boxes(scene, size), strict=True):
            if item.shape not in ("ring", "crescent"):
                assert image.getpixel(((x1 + x2) // 2, (y1 + y2) // 2)) == item.rgb


def test_scenes_vary() -> None:
    """Over some hundred scenes every shape, colour, size, background and number of objects occurs."""
    drawn = [_drawn(seed) for seed in range(400)]
    objects = [item for scene in drawn for item in scene.objects]
    assert {item.shape for item in objects} == set(SHAPES)
    assert {item.colour for item in objects} == set(scenes.COLOURS)
    assert {item.size for item in objects} == set(scenes.SIZES)
    assert {scene.background.kind for scene in drawn} == set(GROUNDS)
    assert {len(scene.objects) for scene in drawn} == {1, 2, 3, 4}


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_relations_turn_round(seed: int) -> None:
    """If a is left of b then b is right of a, and so for above and below; boxes bear it out."""
    scene = _drawn(seed)
    boxes = scenes.boxes(scene, scene.frame(500))
    opposite = {"left": "right", "right": "left", "above": "below", "below": "above", None: None}
    for i, a in enumerate(scene.objects):
        for j, b in enumerate(scene.objects):
            if i != j:
                said = scenes.relation(a, b)
                assert scenes.relation(b, a) == opposite[said]
                assert said != "left" or boxes[i][2] <= boxes[j][0] + 1
                assert said != "above" or boxes[i][3] <= boxes[j][1] + 1


def test_sides_by_side_on_a_slant_are_no_relation() -> None:
    """Objects as far apart across as along stand in no plain relation."""
    a = Object("star", "red", "small", (200, 0, 0), 0.2, 0.2, 0.1, 0.0)
    b = Object("star", "blue", "small", (0, 0, 200), 0.7, 0.7, 0.1, 0.0)
    assert scenes.relation(a, b) is None
