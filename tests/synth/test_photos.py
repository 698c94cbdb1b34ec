"""Crops and pairs of photographs."""

import sys

import pytest
from PIL import Image

from synth import photos
from synth.seeds import generator


def test_every_photograph_is_in_the_wheel() -> None:
    """All files are where scikit-image's wheel puts them, and finding them imports no scikit-image."""
    loaded = "skimage" in sys.modules
    assert all((photos.folder() / photo.file).is_file() for photo in photos.PHOTOS.values())
    assert ("skimage" in sys.modules) == loaded


def test_crops_hold_what_their_captions_speak_of() -> None:
    """The subject of a photograph lies within each crop of it, and the crop within the photograph."""
    for seed in range(300):
        crop = photos.draw(generator(seed, "crop"))
        x1, y1, x2, y2 = crop.region
        assert 0 <= x1 < x2 <= 1
        assert 0 <= y1 < y2 <= 1
        subject = photos.PHOTOS[crop.name].subject
        if subject:
            assert x1 <= subject[0] < subject[2] <= x2
            assert y1 <= subject[1] < subject[3] <= y2


@pytest.mark.parametrize("seed", range(12))
def test_pairs_join_two_different_photographs(seed: int) -> None:
    """Each part of a pair is the crop itself, and the longer side is as asked for to a pixel or two."""
    pair = photos.draw_pair(generator(seed, "pair"))
    assert pair.first.name != pair.second.name
    image = photos.render_pair(pair, 400)
    (w1, h1), _ = photos.halves(pair, 400)
    assert abs(max(image.size) - 400) <= 2
    assert image.crop((0, 0, w1, h1)).tobytes() == photos.render(pair.first, w1, h1).tobytes()


def test_a_mirrored_crop_is_the_crop_turned_round() -> None:
    """Mirroring changes left and right and nothing else."""
    crop = photos.Crop("coffee", (0.1, 0.0, 0.9, 0.9), False)
    mirrored = photos.Crop("coffee", (0.1, 0.0, 0.9, 0.9), True)
    plain, turned = photos.render(crop, 120, 90), photos.render(mirrored, 120, 90)
    assert turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes() == plain.tobytes()
