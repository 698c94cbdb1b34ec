"""What each patch of a scene shows, held against the scene as it is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synth import scenes
from synth.seeds import generator
from tools import clip_pairs, train_clip
from tools.clip_pairs import Item

GRID = 12


def _drawn(seed: int) -> scenes.Scene:
    return scenes.draw(generator(seed, "regions"))


@given(st.integers(0, 10_000))
def test_coverage_of_all_patches_is_the_area_of_the_object(seed: int) -> None:
    """No part of an object's square is lost or counted twice, however the scene is squashed."""
    scene = _drawn(seed)
    for item in scene.objects:
        share = clip_pairs.coverage(item, scene, GRID)
        area = item.side**2 / (scene.width * scene.height)
        assert share.mean() == pytest.approx(area)
        assert share.min() >= 0
        assert share.max() <= 1 + 1e-9


@given(st.integers(0, 10_000))
def test_each_object_is_shown_and_by_patches_within_its_box_alone(seed: int) -> None:
    """A patch is labelled with an object only where the object's drawn box reaches into it."""
    scene = _drawn(seed)
    size = scene.frame(960)
    labels = clip_pairs.labels([Item(scene, "", "en")], GRID)[0].reshape(GRID, GRID)
    for item in scene.objects:
        kind = clip_pairs.SHOWN.index((item.shape, item.colour))
        assert (labels == kind).any()
    reached = np.zeros((GRID, GRID), bool)
    for left, top, right, bottom in scenes.boxes(scene, size):
        x = slice(int(left * GRID / size[0]), -int(-right * GRID // size[0]))
        y = slice(int(top * GRID / size[1]), -int(-bottom * GRID // size[1]))
        reached[y, x] = True
    # an object's square is a little wider than its drawn box: a diamond is narrow
    assert reached[(labels >= 0) & (labels != clip_pairs.NOTHING)].mean() > 0.6
    assert not ((labels == clip_pairs.NOTHING) & _inside(scene)).any()


def _inside(scene: scenes.Scene) -> np.ndarray:
    """Patches of which an object covers a tenth or more."""
    shares = np.stack([clip_pairs.coverage(item, scene, GRID) for item in scene.objects])
    return np.asarray(shares.max(0) >= 0.1)


def test_the_loss_is_least_for_patches_that_equal_their_phrase() -> None:
    """Patches that are their phrase's vector lose less than those of another; unsure ones change nothing."""
    texts = torch.eye(clip_pairs.NOTHING)
    truth = torch.tensor([[3, 7, clip_pairs.NOTHING, clip_pairs.UNJUDGED]])
    scale, nothing = torch.tensor(3.0), torch.tensor(5.0)

    def loss(shown: list[int]) -> float:
        patches = torch.stack([texts[at] if at >= 0 else torch.zeros(len(texts)) for at in shown])[None]
        return train_clip.region_loss(patches, texts, truth, scale, nothing).item()

    right = loss([3, 7, -1, 0])
    assert right < loss([4, 7, -1, 0])
    assert right < loss([3, 7, 9, 0])
    assert right == loss([3, 7, -1, 50])


def test_phrases_stand_in_the_order_of_kinds() -> None:
    """The phrase of a kind names its colour and its shape."""
    said = clip_pairs.phrases("en")
    assert len(said) == clip_pairs.NOTHING == len(set(said))
    assert said[clip_pairs.SHOWN.index(("star", "red"))] == "red star"
